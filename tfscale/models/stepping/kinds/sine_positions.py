"""The sine positions of keras-hub, as a table.

Shapes: C context, S tokens of a call, D width.
"""

import numpy as np
import tensorflow as tf

from tfscale.models.stepping.layer_step import LayerCall, LayerStep
from tfscale.registry import register


@register
class SinePositionsStep(LayerStep):
    """Looks up what the layer gives for each position, which depends on nothing else."""

    name = "sine_positions"
    layers = "`keras_hub.layers.SinePositionEncoding`"
    keeps = "positions"
    condition = "without `start_index` and `positions`"

    def __init__(self, call: LayerCall, context: int):
        super().__init__(call, context)
        call.check_first_position()
        width = call.arguments["inputs"].shape[-1]
        self._table = np.asarray(call.layer(np.zeros((1, context, width), np.float32)))[0]

    @classmethod
    def classes(cls):
        import keras_hub

        return (keras_hub.layers.SinePositionEncoding,)

    def step(self, arguments, kept, place, compute):
        return tf.gather(tf.constant(self._table), place.positions)[None], {}
