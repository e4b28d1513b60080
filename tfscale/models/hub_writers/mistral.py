"""Mistral (Jiang et al. 2023): Llama's parts, a window in every layer, and heads of any width."""

from collections.abc import Mapping
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_fields import FULL, SLIDING, HubFields
from tfscale.models.hub_parts import ANY_SCALING, LLAMA_PARTS, Allowed, parts_of, scaling_of
from tfscale.models.hub_writer import HubWriter
from tfscale.registry import register

_WINDOW = 4096


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

    def options(self, fields: HubFields) -> JsonObject:
        # A file without the entry means the first model's.
        window = fields.window(_WINDOW)
        layers = fields.whole("num_hidden_layers")
        everywhere = [SLIDING if window else FULL] * layers
        if fields.layer_kinds(layers, everywhere) != everywhere:
            # It is transformers' `Ministral` that has such layers.
            fields.expect("layer_types", (everywhere,), None)
        return {**super().options(fields), **fields.windows(everywhere, window)}

    def describe(self, config: TransformerConfig) -> JsonObject:
        window = parts_of(config)["attention_window"]
        return {**super().describe(config), "sliding_window": window or None}
