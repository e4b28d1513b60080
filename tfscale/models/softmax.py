"""Leaves out the softmax that a language model of somebody's own ends in.

Tutorials end in `Dense(V, activation="softmax")`. Logits and probabilities choose the same tokens,
and a softmax of the logits gives the probabilities back, so that nothing is lost. Their logarithm
would be minus infinity where a probability is too small for a float32.

Shapes: B rows, T tokens, V vocabulary.
"""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import Call, call_of_any_shape, layers_called_by, output_layer

_TOLERANCE = 1e-5


@contextlib.contextmanager
def without_softmax(network: keras.Model, length: int) -> Iterator[bool]:
    """Has a network that ends in a softmax give its logits for the block; yields whether it does.

    Any other network is left alone, and so is one that gives something else than the logits of its
    probabilities when the activation of its last layer is left out.

    Args:
        network: ids (B, T) int32 -> probabilities (B, T, V).
        length: T to compare with.

    Example:
        with without_softmax(network, 64):
            logits = network(ids)
    """
    layer = output_layer(network) if network.built else None
    call = None if layer is None else _without_activation(layer)
    if layer is None or call is None or not _same_probabilities(network, layer, call, length):
        yield False
        return
    with layers_called_by([(layer, call)]):
        yield True


def _same_probabilities(
    network: keras.Model, layer: keras.layers.Layer, call: Call, length: int
) -> bool:
    """Whether a softmax of what the network gives with `call` is what it gives without."""
    ids = tf.zeros((1, length), tf.int32)
    try:
        expected = np.asarray(call_of_any_shape(network, ids), np.float32)
        with layers_called_by([(layer, call)]):
            logits = tf.cast(call_of_any_shape(network, ids), tf.float32)
    except (TypeError, ValueError, AttributeError, tf.errors.OpError):
        # It does not read ids of this shape; whoever checks the network says so.
        return False
    found = np.asarray(tf.nn.softmax(logits))
    return found.shape == expected.shape and bool(np.abs(found - expected).max() <= _TOLERANCE)


def _without_activation(layer: keras.layers.Layer) -> Call | None:
    """Returns the layer's call without its softmax; None where it has none."""
    inner = getattr(layer, "layer", layer)  # inside of TimeDistributed
    if isinstance(layer, keras.layers.Softmax) or (
        isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.softmax
    ):
        return lambda inputs, *_, **__: tf.identity(inputs)
    if getattr(inner, "activation", None) is not keras.activations.softmax:
        return None

    compute = layer.call

    def call(*args, **options):
        # Keras reads the attribute at each call, and compiled functions keep what was traced.
        inner.activation = keras.activations.linear
        try:
            return compute(*args, **options)
        finally:
            inner.activation = keras.activations.softmax

    return call
