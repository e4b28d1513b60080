"""Mistral (Jiang et al. 2023): Llama's parts, and a window in every layer."""

from tfscale.files.json_text import JsonObject
from tfscale.models.hub_reader import linear_scaling
from tfscale.models.hub_readers.llama import Llama
from tfscale.registry import register


@register
class Mistral(Llama):
    """Reads `MistralBackbone`."""

    name = "mistral"
    summary = "Mistral"
    backbones = ("MistralBackbone",)

    def options(self) -> JsonObject:
        return {
            **super().options(),
            "head_dim": self.backbone.head_dim or 0,
            "attention_window": self.backbone.sliding_window or 0,
        }

    def rope_scaling(self) -> JsonObject:
        return linear_scaling(self.backbone.rope_scaling_factor)
