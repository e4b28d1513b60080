"""Llama 2 (Touvron et al. 2023), Llama 3 to 3.2 (Grattafiori et al. 2024), and models of its
shape."""

from collections.abc import Mapping
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_fields import HubFields
from tfscale.models.hub_parts import ANY_SCALING, LLAMA_PARTS, Allowed, parts_of, scaling_of
from tfscale.models.hub_writer import HubWriter
from tfscale.registry import register


@register
class Llama(HubWriter):
    """Writes `LlamaForCausalLM`; biases are in all dense layers or in none."""

    name = "llama"
    summary = "Llama 2 to 3.2 and SmolLM2"
    architecture = "LlamaForCausalLM"
    grouped = False
    divided = True
    parts: ClassVar[Mapping[str, Allowed]] = {
        **LLAMA_PARTS,
        "rope_scaling": ANY_SCALING,
        "use_bias": (False, True),
        "head_dim": None,
    }

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        own_width = parts_of(config)["head_dim"]
        return not config.use_bias and not own_width and scaling_of(config) != "linear"

    def options(self, fields: HubFields) -> JsonObject:
        biases = [fields.flag(name) for name in ("attention_bias", "mlp_bias")]
        # Those that the model does not have are zeros.
        return {**super().options(fields), "use_bias": any(biases)}

    def may_lack(self, name: str, fields: HubFields) -> bool:
        part = "mlp_bias" if ".mlp." in name else "attention_bias"
        return name.endswith(".bias") and not fields.flag(part)

    def describe(self, config: TransformerConfig) -> JsonObject:
        return {
            **super().describe(config),
            "attention_bias": config.use_bias,
            "mlp_bias": config.use_bias,
        }
