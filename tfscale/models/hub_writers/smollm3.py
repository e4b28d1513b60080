"""SmolLM3 (Bakouch et al. 2025): Llama's parts, and layers without positions."""

from collections.abc import Mapping
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_parts import ANY_SCALING, LLAMA_PARTS, Allowed, scaling_of
from tfscale.models.hub_writer import HubWriter
from tfscale.registry import register


@register
class SmolLM3(HubWriter):
    """Writes `SmolLM3ForCausalLM`; with biases of queries, keys and values, that of the output is
    zeros."""

    name = "smollm3"
    summary = "SmolLM3"
    architecture = "SmolLM3ForCausalLM"
    parts: ClassVar[Mapping[str, Allowed]] = {
        **LLAMA_PARTS,
        "rope_scaling": ANY_SCALING,
        "no_rope_every": None,
        "query_key_value_bias": (False, True),
    }

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        biased = config.query_key_value_bias
        return config.tie_embeddings and not biased and scaling_of(config) == "none"

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
