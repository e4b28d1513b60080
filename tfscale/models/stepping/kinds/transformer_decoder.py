"""The decoder layer of keras-hub, which takes a cache.

Shapes: C context, H heads, K width of a head.
"""

import tensorflow as tf

from tfscale.compat.keras import mask_of
from tfscale.compat.keras_hub import key_width
from tfscale.models.stepping.layer_step import LayerCall, LayerStep
from tfscale.registry import register


@register
class TransformerDecoderStep(LayerStep):
    """Calls the layer with its cache.

    A mask of padding (`mask_zero=True`) would be that of the tokens of one call, and the cache
    holds more; as in keras-hub's own cached generation none is applied.
    """

    name = "transformer_decoder"
    layers = "`keras_hub.layers.TransformerDecoder`"
    keeps = "cache"
    condition = "without an encoder's output; ids that `mask_zero=True` hides do not occur in texts"

    def __init__(self, call: LayerCall, context: int):
        super().__init__(call, context)
        if call.arguments.get("encoder_sequence") is not None:
            raise call.refused("attends to an encoder's output")
        if call.arguments.get("decoder_attention_mask") is not None:
            raise call.refused("is given a decoder_attention_mask")
        if not call.arguments.get("use_causal_mask", True):
            raise call.refused("attends to later tokens (use_causal_mask=False)")
        self.ignores_padding = mask_of(call.arguments["decoder_sequence"]) is not None
        shape = 1, context, call.layer.num_heads, key_width(call.layer)
        self.shapes = {"k": shape, "v": shape}

    @classmethod
    def classes(cls):
        import keras_hub

        return (keras_hub.layers.TransformerDecoder,)

    def step(self, arguments, kept, place, compute):
        options = {name: value for name, value in arguments.items() if "sequence" not in name}
        output, cache = compute(
            tf.identity(arguments["decoder_sequence"]),
            **(options | {"decoder_padding_mask": None}),
            self_attention_cache=tf.stack([kept["k"], kept["v"]], axis=1),
            self_attention_cache_update_index=place.positions[0],
        )
        return output, {"k": cache[:, 0], "v": cache[:, 1]}
