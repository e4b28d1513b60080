"""A layer of somebody's own that adds positions is recognised by comparison; what only looks like it is not."""

import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.models.stepping.user_models import D, SinesAdded
from tfscale.models.stepping.added_positions import added_positions
from tfscale.models.stepping.layer_step import LayerCall, Place

C = 6


def call_of(layer, ids):
    given = tf.constant([ids])
    return LayerCall(layer, 0, {"x": given}, layer(given))


def found(layer):
    return added_positions(
        call_of(layer, [3, 1, 4, 1, 5, 9]), call_of(layer, [2, 6, 5, 3, 5, 8]), C
    )


def test_a_table_that_is_added_is_found():
    layer = SinesAdded()
    step = found(layer)
    for positions in ([0], [4], [2, 3]):
        place = Place(tf.constant(positions), None)
        ids = tf.constant([[7] * len(positions)])
        output, kept = step.step({"x": ids}, {}, place, layer.call)
        expected = layer.tokens(ids)[0] * D**0.5 + layer.table[positions]
        np.testing.assert_allclose(output[0], expected, atol=1e-5)
        assert kept == {}


class Scaled(layers.Layer):
    """Multiplies by a number that grows with the position."""

    def __init__(self):
        super().__init__()
        self.tokens = layers.Embedding(10, 4)

    def call(self, x):
        return self.tokens(x) * ops.reshape(ops.arange(1.0, x.shape[1] + 1), (1, -1, 1))


class MinusFirst(layers.Layer):
    """Subtracts the first token, which is another one in each window."""

    def __init__(self):
        super().__init__()
        self.tokens = layers.Embedding(10, 4)

    def call(self, x):
        x = self.tokens(x)
        return x - x[:, :1]


class Flat(layers.Layer):
    """Gives no vector of each token."""

    def call(self, x):
        return ops.sum(x, axis=1)


def test_what_is_not_added_is_not_taken_for_a_table():
    for layer in (Scaled(), MinusFirst(), Flat()):
        assert found(layer) is None
