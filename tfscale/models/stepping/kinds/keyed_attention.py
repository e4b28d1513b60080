"""Attention layers of Keras without weights of their own, which no cache is written for."""

import keras

from tfscale.models.stepping.layer_step import LayerCall, LayerStep
from tfscale.registry import register


@register
class KeyedAttentionStep(LayerStep):
    """Refuses the layer by its name."""

    name = "keyed_attention"
    layers = "`Attention`, `AdditiveAttention`"
    keeps = "nothing"
    condition = "`MultiHeadAttention` generates"

    def __init__(self, call: LayerCall, context: int):
        super().__init__(call, context)
        raise call.refused(
            "has no form with a cache; MultiHeadAttention with use_causal_mask=True has one"
        )

    @classmethod
    def classes(cls):
        # AdditiveAttention is a subclass.
        return (keras.layers.Attention,)

    def step(self, arguments, kept, place, compute):
        raise AssertionError("refused before")
