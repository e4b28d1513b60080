"""Phi 3 (Abdin et al. 2024) and Phi 4 (14 B parameters), whose parts are Llama's."""

from keras.layers import Layer

from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_reader import read_attention, read_gated
from tfscale.models.hub_readers.llama import Llama
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register


@register
class Phi3(Llama):
    """Reads `Phi3Backbone`."""

    name = "phi3"
    summary = "Phi 3 and 4"
    backbones = ("Phi3Backbone",)

    def rope_scaling(self) -> JsonObject:
        if self.backbone.rope_scaling_type is not None:
            raise ConfigError(
                f"the model has rope_scaling_type={self.backbone.rope_scaling_type!r}, a list of"
                " factors for its rotary positions (LongRoPE: contexts of 128k); linear and"
                " Llama 3's scaling are taken"
            )
        return {}

    def read_block(self, block: TransformerBlock, layer: Layer) -> None:
        attention = layer.attention
        query_key_value = attention.query_dense, attention.key_dense, attention.value_dense
        read_attention(block, query_key_value, attention.output_dense)
        self.read_norm(block.attention_norm, layer.pre_attention_layernorm)
        self.read_norm(block.feed_forward_norm, layer.post_attention_layernorm)
        read_gated(
            block,
            layer.feedforward_gate_dense,
            layer.feedforward_intermediate_dense,
            layer.feedforward_output_dense,
        )
