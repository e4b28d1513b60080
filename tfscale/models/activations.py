"""Activations of feed-forward layers by the names that options have: as Keras computes them, and
in plain TensorFlow for cached steps.

Shapes: F feed_forward_dim.
"""

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import ops

Activation = Callable[[tf.Tensor], tf.Tensor]


@keras.saving.register_keras_serializable("tfscale")
def gelu_tanh(x: tf.Tensor) -> tf.Tensor:
    """GELU by its approximation with tanh (Hendrycks and Gimpel 2016), as GPT-2 computes it."""
    return ops.gelu(x, approximate=True)


@keras.saving.register_keras_serializable("tfscale")
def relu_squared(x: tf.Tensor) -> tf.Tensor:
    """The square of ReLU (So et al. 2021, "Primer")."""
    return ops.square(ops.relu(x))


ACTIVATIONS: dict[str, str | Activation] = {
    "gelu": "gelu",
    "gelu_tanh": gelu_tanh,
    "relu_squared": relu_squared,
}
"""Activations of layers without a gate, as `keras.layers.Dense` takes them."""
GATES: dict[str, Activation] = {"swiglu": ops.silu, "geglu": gelu_tanh}
"""Functions of the gate that each unit is multiplied by (Shazeer 2020)."""
_CACHED: dict[str, Activation] = {
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    # (x + |x|) / 2 is ReLU to the last bit. A converter makes a ReLU a part of the product before
    # it, and LiteRT's plain kernel of int4 products leaves it out.
    "relu_squared": lambda x: tf.square((x + tf.abs(x)) * 0.5),
    "swiglu": lambda x: x * tf.sigmoid(x),
    "geglu": lambda x: tf.nn.gelu(x, approximate=True),
}


def cached_activation(name: str, x: tf.Tensor) -> tf.Tensor:
    """Returns the activation in plain TensorFlow, which converts to TFLite's built-in operations.

    Args:
        name: a key of `ACTIVATIONS` or of `GATES`.
        x: output of the first feed-forward matrix (..., F), or (..., 2 F) with the gates first.

    Returns:
        (..., F).
    """
    if name not in GATES:
        return _CACHED[name](x)
    gate, up = tf.split(x, 2, axis=-1)
    return _CACHED[name](gate) * up
