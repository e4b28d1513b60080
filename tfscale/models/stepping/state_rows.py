"""A layer with a state in a model that also has a key-value cache or positions.

Its state after each token is a row of a cache. So all that such a file carries has a row for each
position, and whoever runs it treats the state as keys and values: a token writes its own row, and
what stands in later rows does not count.

Shapes: C context.
"""

import math

import tensorflow as tf

from tfscale.models.cached import write_cache
from tfscale.models.stepping.layer_step import LayerStep


class StateRows(LayerStep):
    """Reads the state of the row before, and writes that of its own; one token a call.

    Args:
        inner: a step that keeps a state.
        context: C.
    """

    name = "state_rows"
    layers = ""
    keeps = "cache"

    def __init__(self, inner: LayerStep, context: int):
        self.layer, self._inner = inner.layer, inner
        self.shapes = {
            part: (1, context, 1, math.prod(shape)) for part, shape in inner.shapes.items()
        }

    @classmethod
    def classes(cls):
        return ()

    def step(self, arguments, kept, place, compute):
        position = place.positions[0]
        begun = tf.cast(position > 0, tf.float32)
        row = tf.maximum(position - 1, 0)
        before = {
            part: tf.reshape(tf.gather(rows, row, axis=1) * begun, self._inner.shapes[part])
            for part, rows in kept.items()
        }
        output, after = self._inner.step(arguments, before, place, compute)
        return output, {
            part: write_cache(
                kept[part], tf.reshape(value, (1, 1, 1, kept[part].shape[-1])), place.positions
            )
            for part, value in after.items()
        }
