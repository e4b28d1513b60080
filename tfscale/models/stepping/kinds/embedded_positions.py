"""An `Embedding` that is called with the positions 0, 1, 2 ... in place of ids, as in many
tutorials: `Embedding(maxlen, width)(ops.arange(length))`.

Shapes: T tokens, S tokens of a call, C context.
"""

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import ConfigError
from tfscale.models.stepping.layer_step import LayerCall, LayerStep
from tfscale.registry import register


@register
class EmbeddedPositionsStep(LayerStep):
    """Looks up the positions of the step in the layer's table.

    The ids of the whole forward pass that is watched are random, so that positions are known by
    their values.
    """

    name = "embedded_positions"
    layers = "`Embedding` of `ops.arange(length)`, in a layer of one's own too"
    keeps = "positions"
    condition = "`mask_zero=False`"

    def __init__(self, call: LayerCall, context: int):
        super().__init__(call, context)
        if call.layer.mask_zero:
            raise call.refused("hides the position 0 (mask_zero=True)")
        if call.layer.input_dim < context:
            raise ConfigError(
                f"sequence_length={context}, and {call.layer.name!r} has positions for"
                f" {call.layer.input_dim}"
            )

    @classmethod
    def classes(cls):
        return (keras.layers.Embedding,)

    @classmethod
    def takes(cls, layer, arguments):
        inputs = arguments.get("inputs")
        value = tf.get_static_value(inputs) if tf.is_tensor(inputs) else np.asarray(inputs)
        if value is None or value.ndim not in (1, 2) or value.shape[-1] < 2:
            return False
        return bool((value == np.arange(value.shape[-1])).all())

    def step(self, arguments, kept, place, compute):
        inputs = arguments["inputs"]
        places = place.positions if len(inputs.shape) == 1 else place.positions[None]
        return compute(tf.cast(places, inputs.dtype)), {}
