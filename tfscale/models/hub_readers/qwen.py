"""Qwen 2 and 2.5 (Yang et al. 2024): Llama's parts, and biases of queries, keys and values."""

from tfscale.files.json_text import JsonObject
from tfscale.models.hub_reader import linear_scaling
from tfscale.models.hub_readers.llama import Llama
from tfscale.registry import register


@register
class Qwen(Llama):
    """Reads `QwenBackbone`."""

    name = "qwen"
    summary = "Qwen 2 and 2.5"
    backbones = ("QwenBackbone",)

    def options(self) -> JsonObject:
        backbone = self.backbone
        window = backbone.sliding_window_size if backbone.use_sliding_window_attention else 0
        return {
            **super().options(),
            "query_key_value_bias": True,
            "attention_window": window,
        }

    def rope_scaling(self) -> JsonObject:
        return linear_scaling(self.backbone.rope_scaling_factor)
