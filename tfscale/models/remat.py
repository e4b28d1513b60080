"""Rematerialization: a layer's activations are computed again in the backward pass (Chen et al. 2016).

It is a choice of each call and not of the building: a layer keeps its weights, names and file, and only the train step,
which asks for the gradient, pays for it. Keras's own `RematScope` is fixed when a layer is made; it draws dropout anew
in the backward pass, so that the gradient belongs to another mask; and XLA removes its repetition, because nothing
tells XLA that the second computation is to wait.

Shapes: B batch, T tokens, D width.
"""

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_optimization_barrier
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext


def rematerialized(layer: keras.layers.Layer, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`layer(inputs)` that keeps its inputs for the gradient, not its activations: (B, T, D) -> (B, T, D).

    The weights and the state of dropout go in as tensors. So the second forward pass sees the very values of the first,
    also where a `keras.StatelessScope` that gave the dropout its seeds has ended in between.

    Args:
        layer: a built layer of one input and one output, whose only state is weights and seeds of dropout.
        inputs: what it is called with.
        training: whether dropout is on.

    Example:
        with tf.GradientTape() as tape:
            y = rematerialized(block, x, training=True)
    """
    weights = layer.trainable_variables
    others = [(v, tf.convert_to_tensor(v.value)) for v in layer.non_trainable_variables]

    def forward(x, values):
        with keras.StatelessScope(state_mapping=[*zip(weights, values, strict=True), *others]):
            return layer(x, training=training)

    @tf.custom_gradient
    def call(x, *values):
        def gradient(upstream):
            again, upstream = _after(upstream, x)
            with tf.GradientTape() as tape:
                tape.watch([again, *values])
                outputs = forward(again, values)
            return tape.gradient(outputs, [again, *values], output_gradients=upstream)

        return forward(x, values), gradient

    return call(inputs, *(tf.convert_to_tensor(v.value) for v in weights))


def _after(upstream: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`x`, not to be used before `upstream` is there, in a form that is not merged with the first computation on it."""
    if tf.executing_eagerly():
        return x, upstream
    if GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        # XLA drops control dependencies, and it merges equal computations unless a barrier hides that they are equal.
        again, upstream = xla_optimization_barrier([x, upstream])
        return again, upstream
    with tf.control_dependencies([upstream]):
        return tf.identity(x), upstream
