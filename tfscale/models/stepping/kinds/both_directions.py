"""Layers that mix all tokens of a window, and so have no form that reads one token at a time."""

import keras

from tfscale.models.stepping.layer_step import LayerCall, LayerStep
from tfscale.registry import register


@register
class BothDirectionsStep(LayerStep):
    """Refuses the layer by its name."""

    name = "both_directions"
    layers = "`Bidirectional`, pooling over the tokens, `Flatten`"
    keeps = "nothing"
    condition = "refused, unless `network.cloze = True` says that it guesses from both sides"

    def __init__(self, call: LayerCall, context: int):
        super().__init__(call, context)
        raise call.refused("mixes all tokens of a window")

    @classmethod
    def classes(cls):
        layers = keras.layers
        return (
            layers.Bidirectional,
            layers.GlobalAveragePooling1D,
            layers.GlobalMaxPooling1D,
            layers.AveragePooling1D,
            layers.MaxPooling1D,
            layers.Flatten,
        )

    def step(self, arguments, kept, place, compute):
        raise AssertionError("refused before")
