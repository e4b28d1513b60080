"""Gemma 3 (Kamath et al. 2025), without pictures."""

from keras.layers import Layer

from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_reader import linear_scaling
from tfscale.models.hub_readers.gemma import Gemma
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register


@register
class Gemma3(Gemma):
    """Reads `Gemma3Backbone`."""

    name = "gemma3"
    summary = "Gemma 3 (text)"
    backbones = ("Gemma3Backbone",)

    def options(self) -> JsonObject:
        backbone = self.backbone
        first = backbone.transformer_layers[0]
        refused = {
            "a vision_encoder": backbone.vision_encoder is not None,
            "use_bidirectional_attention": first.use_bidirectional_attention,
            "is_embedding_model": isinstance(backbone.output, dict),
        }
        if has := [name for name, there in refused.items() if there]:
            raise ConfigError(
                f"the model has {' and '.join(has)}; of Gemma 3, models that write text and read"
                " nothing else are taken"
            )
        options = super().options()
        windowed = bool(options["attention_window"])
        local = backbone.local_rope_scaling_factor
        if windowed and local != 1:
            raise ConfigError(
                f"the model has local_rope_scaling_factor={local:g}; the positions of layers with"
                " a window are taken as they are"
            )
        return {
            **options,
            "feed_forward_dim": backbone.intermediate_dim,
            # Every sixth layer sees all tokens. The bases are constants of keras-hub.
            "global_every": 6 if windowed else 0,
            "rope_base": 1_000_000.0,
            "local_rope_base": 10_000.0 if windowed else 0.0,
            **linear_scaling(backbone.global_rope_scaling_factor),
            "query_key_norm": backbone.use_query_key_norm,
        }

    def read_block(self, block: TransformerBlock, layer: Layer) -> None:
        super().read_block(block, layer)
        if block.options.query_key_norm:
            self.read_norm(block.attention.query_norm, layer.attention.query_norm)
            self.read_norm(block.attention.key_norm, layer.attention.key_norm)
