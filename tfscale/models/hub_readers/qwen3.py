"""Qwen 3 (Yang et al. 2025): Llama's parts, norms of queries and keys, and heads of any width."""

from keras.layers import Layer

from tfscale.compat import keras_hub as hub
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_reader import linear_scaling
from tfscale.models.hub_readers.llama import Llama
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register


@register
class Qwen3(Llama):
    """Reads `Qwen3Backbone`.

    Norms of queries and keys take the model's epsilon, as in the models that were published;
    keras-hub 0.32 always has 1e-5 there.
    """

    name = "qwen3"
    summary = "Qwen 3"
    backbones = ("Qwen3Backbone",)

    def options(self) -> JsonObject:
        return {
            **super().options(),
            "head_dim": self.backbone.head_dim or 0,
            "query_key_norm": True,
            "attention_window": self.backbone.sliding_window_size or 0,
        }

    def rope_scaling(self) -> JsonObject:
        return linear_scaling(self.backbone.rope_scaling_factor)

    def read_block(self, block: TransformerBlock, layer: Layer) -> None:
        super().read_block(block, layer)
        query_norm, key_norm = hub.qwen3_norms(layer)
        self.read_norm(block.attention.query_norm, query_norm)
        self.read_norm(block.attention.key_norm, key_norm)
