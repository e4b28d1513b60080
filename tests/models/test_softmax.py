"""The softmax at the end of a language model is left out where, and only where, logits are what it is made of."""

import keras
import numpy as np
import pytest
from keras import layers

from tfscale.models.softmax import without_softmax

V, T = 7, 5
IDS = np.array([[1, 2, 3, 4, 5]], "int32")


def model(*last):
    inner = [keras.Input((None,), dtype="int32"), layers.Embedding(V, 4), *last]
    return keras.Sequential(inner)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = model(layers.Dense(V))
        self.last = layers.Softmax()

    def call(self, ids, training=False):
        return self.last(self.inner(ids))


def branches():
    """The last of its layers is not the one that makes the output."""
    ids = keras.Input((T,), dtype="int32")
    table = layers.Embedding(V, V)
    output = layers.Dense(V, activation="softmax")(table(ids))
    return keras.Model(ids, output)


ENDS = {
    "dense": lambda: model(layers.Dense(V, activation="softmax")),
    "layer": lambda: model(layers.Dense(V), layers.Softmax()),
    "activation": lambda: model(layers.Dense(V), layers.Activation("softmax")),
    "each token": lambda: model(layers.TimeDistributed(layers.Dense(V, activation="softmax"))),
    "model in a model": lambda: keras.Sequential([ENDS["dense"]()]),
    "subclassed": Subclassed,
    "branches": branches,
}


@pytest.mark.parametrize("name", ENDS)
def test_logits_come_out_whose_softmax_is_what_came_out(name):
    network = ENDS[name]()
    before = np.asarray(network(IDS))
    np.testing.assert_allclose(before.sum(-1), 1, atol=1e-6)
    with without_softmax(network, T) as left_out:
        assert left_out
        logits = np.asarray(network(IDS))
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(-1, keepdims=True), before, atol=1e-6)
    assert np.abs(logits.sum(-1) - 1).max() > 1e-3
    np.testing.assert_array_equal(network(IDS), before)


@pytest.mark.parametrize(
    "network",
    [
        model(layers.Dense(V)),
        model(layers.Dense(V, activation="sigmoid")),
        model(layers.Dense(V), layers.Softmax(axis=1)),
        model(layers.Dense(V, activation="softmax"), layers.Rescaling(2.0)),
    ],
    ids=["logits", "sigmoid", "over the tokens", "before the end"],
)
def test_any_other_network_is_left_alone(network):
    before = np.asarray(network(IDS))
    with without_softmax(network, T) as left_out:
        assert not left_out
        np.testing.assert_array_equal(network(IDS), before)
