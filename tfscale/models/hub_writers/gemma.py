"""Gemma (Mesnard et al. 2024): Llama's parts with another gate, scaled embeddings, and heads of any
width."""

from collections.abc import Mapping
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_fields import HubFields
from tfscale.models.hub_parts import ANY_SCALING, LLAMA_PARTS, Allowed, scaling_of
from tfscale.models.hub_writer import HubWriter
from tfscale.registry import register

GEMMA_PARTS: Mapping[str, Allowed] = {
    **LLAMA_PARTS,
    "activation": ("geglu",),
    "scale_embeddings": (True,),
    "rope_scaling": ANY_SCALING,
    "head_dim": None,
}
"""Options that all Gemma models share."""


@register
class Gemma(HubWriter):
    """Writes `GemmaForCausalLM`; scales of norms are stored less 1."""

    name = "gemma"
    summary = "Gemma 1"
    architecture = "GemmaForCausalLM"
    parts: ClassVar[Mapping[str, Allowed]] = GEMMA_PARTS
    scale_offset = 1.0
    tied = True
    sized = True

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        base = config.rope_base == 10_000
        return base and scaling_of(config) == "none" and config.tie_embeddings

    def options(self, fields: HubFields) -> JsonObject:
        # The first files say gelu and mean its approximation, as transformers knows.
        fields.expect("hidden_act", ("gelu_pytorch_tanh", "gelu"), "gelu_pytorch_tanh")
        return {**self.gemma_sizes(fields), **fields.rope(self.base)}

    def gemma_sizes(self, fields: HubFields) -> JsonObject:
        """Returns the options that all of Gemma have but for positions."""
        fields.expect("attention_bias", (False,), False)
        fields.expect("use_bidirectional_attention", (False, None), None)
        return {**self.sizes(fields), "activation": "geglu", "scale_embeddings": True}

    def describe(self, config: TransformerConfig) -> JsonObject:
        act = "gelu_pytorch_tanh"
        return {
            **super().describe(config),
            "hidden_act": act,
            "hidden_activation": act,
            "attention_bias": False,
        }
