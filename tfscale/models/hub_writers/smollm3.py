"""SmolLM3 (Bakouch et al. 2025): Llama's parts, and layers without positions."""

from collections.abc import Mapping
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_fields import FULL, SLIDING, HubFields
from tfscale.models.hub_parts import ANY_SCALING, LLAMA_PARTS, Allowed, parts_of, scaling_of
from tfscale.models.hub_writer import HubWriter
from tfscale.registry import register


@register
class SmolLM3(HubWriter):
    """Writes `SmolLM3ForCausalLM`; with biases of queries, keys and values, that of the output is
    zeros."""

    name = "smollm3"
    summary = "SmolLM3"
    architecture = "SmolLM3ForCausalLM"
    tied = True
    base = 2_000_000.0
    parts: ClassVar[Mapping[str, Allowed]] = {
        **LLAMA_PARTS,
        "rope_scaling": ANY_SCALING,
        "no_rope_every": None,
        "query_key_value_bias": (False, True),
        "head_dim": None,
    }

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        unread = config.query_key_value_bias or parts_of(config)["head_dim"]
        return config.tie_embeddings and not unread and scaling_of(config) == "none"

    def options(self, fields: HubFields) -> JsonObject:
        fields.expect("mlp_bias", (False,), False)
        layers = fields.whole("num_hidden_layers")
        interval = fields.whole("no_rope_layer_interval", 4)
        turned = fields.get("no_rope_layers")
        if turned is None:
            turned = [layer % interval > 0 for layer in range(1, layers + 1)]
        elif not isinstance(turned, list) or len(turned) < layers:
            fields.expect("no_rope_layers", ([1] * layers,), None)
        without = [not has for has in turned[:layers]]
        window = fields.window() if fields.flag("use_sliding_window") else 0
        kinds = [SLIDING if window and bare else FULL for bare in without]
        return {
            **super().options(fields),
            "query_key_value_bias": fields.flag("attention_bias"),
            "no_rope_every": fields.every("no_rope_layers", without),
            **fields.windows(fields.layer_kinds(layers, kinds), window),
        }

    def describe(self, config: TransformerConfig) -> JsonObject:
        layers = range(config.num_layers)
        return {
            **super().describe(config),
            "attention_bias": config.query_key_value_bias,
            "mlp_bias": False,
            # 1 has positions, whatever the name says.
            "no_rope_layers": [int(config.rope_of(layer)[0] > 0) for layer in layers],
            "no_rope_layer_interval": config.no_rope_every or config.num_layers + 1,
            "layer_types": ["full_attention" for _ in layers],
            "use_sliding_window": False,
            "sliding_window": None,
        }
