"""Mistral (Jiang et al. 2023): Llama's parts, a window in every layer, and heads of any width."""

from collections.abc import Mapping
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_parts import ANY_SCALING, LLAMA_PARTS, Allowed, parts_of, scaling_of
from tfscale.models.hub_writer import HubWriter
from tfscale.registry import register


@register
class Mistral(HubWriter):
    """Writes `MistralForCausalLM`."""

    name = "mistral"
    summary = "Mistral"
    architecture = "MistralForCausalLM"
    # keras-hub 0.32 reads this architecture in float16, whatever the file holds.
    read_back_as = "float16"
    parts: ClassVar[Mapping[str, Allowed]] = {
        **LLAMA_PARTS,
        "rope_scaling": ANY_SCALING,
        "attention_window": None,
        "head_dim": None,
    }

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        # Its Mistral always has two tables.
        return not config.tie_embeddings and scaling_of(config) != "llama3"

    def describe(self, config: TransformerConfig) -> JsonObject:
        window = parts_of(config)["attention_window"]
        return {**super().describe(config), "sliding_window": window or None}
