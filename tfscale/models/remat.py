"""Rematerialization: a layer's activations are computed again in the backward pass (Chen et al.
2016).

It is a choice of each call and not of the building: a layer keeps its weights, names and file, and
only the train step, which asks for the gradient, pays for it. Keras's own `RematScope` is fixed
when a layer is made; it draws dropout anew in the backward pass, so that the gradient belongs to
another mask; and XLA takes its repetition out again.

Shapes: B batch, T tokens, D width.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfscale.errors import ConfigError

SEED_STATE_NAME = "seed_generator_state"
"""Keras's name of the variable of a layer that draws at random."""


def rematerialized(
    layer: keras.layers.Layer,
    inputs: tf.Tensor,
    training: bool = False,
    states: Sequence[tf.Tensor] | None = None,
    **constants: tf.Tensor,
) -> tf.Tensor:
    """`layer(inputs)` that keeps its inputs for the gradient, not its activations: (B, T, D) -> (B,
    T, D).

    The weights and the state of dropout go in as tensors. So the second forward pass sees the very
    values of the first, also where a `keras.StatelessScope` that gave the dropout its seeds has
    ended in between.

    Args:
        layer: a built layer of one input and one output, whose only state is weights and seeds of
            dropout.
        inputs: what it is called with.
        training: whether dropout is on.
        states: first states of a recurrent layer, which get no gradient; then it is
            `layer.with_state(...)`.
        **constants: further arguments of the call by name, which get no gradient either.

    Raises:
        ConfigError: the layer keeps other state, such as batch normalization.

    Example:
        with tf.GradientTape() as tape:
            y = rematerialized(block, x, training=True)
    """
    weights = layer.trainable_variables
    others = [(v, tf.convert_to_tensor(v.value)) for v in layer.non_trainable_variables]

    def forward(x, values):
        with keras.StatelessScope(
            state_mapping=[*zip(weights, values, strict=True), *others]
        ) as scope:
            given = dict(scope.state_mapping)
            outputs = (
                layer(x, training=training, **constants)
                if states is None
                else layer.with_state(x, states, training, **constants)
            )
        for variable, _ in others:
            if (
                variable.name != SEED_STATE_NAME
                and scope.state_mapping[id(variable)] is not given[id(variable)]
            ):
                raise ConfigError(
                    f"layer {layer.name!r} updates {variable.path} in its forward pass, which is"
                    " taken twice when it is rematerialized; use layers whose only state is their"
                    " weights, such as layer normalization"
                )
        return outputs

    @tf.custom_gradient
    def call(x, *values):
        def gradient(upstream, *_):  # Nobody asks for the gradient of the last states.
            def again(x, *_):
                with tf.GradientTape() as tape:
                    tape.watch([x, *values])
                    outputs = forward(x, values)
                    outputs = outputs if states is None else outputs[0]
                return tape.gradient(
                    outputs, [x, *values], output_gradients=upstream, unconnected_gradients="zero"
                )

            # Only `x` has to go through the loop; zeros take the places of the other gradients.
            return one_turn(again, [x, *(tf.zeros_like(v) for v in values)], [upstream])

        return forward(x, values), gradient

    return call(inputs, *(tf.convert_to_tensor(v.value) for v in weights))


def one_turn(
    again: Callable[..., Sequence[tf.Tensor]],
    tensors: Sequence[tf.Tensor],
    upstream: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """Returns gradients that are computed when those behind them are there, and not before.

    Args:
        again: a forward pass of `tensors` and its gradients by them.
        tensors: of floating-point types.
        upstream: the gradients that it waits for.
    """

    def turned(turn, *tensors):
        found = [tf.convert_to_tensor(gradient) for gradient in again(*tensors)]
        pairs = zip(found, tensors, strict=True)
        return turn + _one_or_more(tensors[0]), *(tf.ensure_shape(g, x.shape) for g, x in pairs)

    # A loop of one turn. XLA merges equal computations, and begins them whenever it likes: it drops
    # control dependencies, and optimization barriers before it orders the program. A loop stays a
    # whole: it waits for `upstream`, and its activations end with it. Its values come in as tensors
    # and go out as their gradients, or all of it would be invariant and moved out of the loop.
    # Without XLA it is the other way round: the parts of a loop begin as soon as they can, and
    # control dependencies hold.
    with tf.control_dependencies(list(upstream)):
        start = [tf.constant(0), *(tf.identity(tensor) for tensor in tensors)]
    return list(tf.while_loop(lambda turn, *_: turn < 1, turned, start)[1:])


def _one_or_more(x: tf.Tensor) -> tf.Tensor:
    """Returns an int32 of 1 or more that depends on `x`: XLA takes a loop apart if it can tell that
    it has one turn."""
    bits = tf.bitcast(tf.cast(x[(0,) * x.shape.rank], tf.float32), tf.int32)
    return 1 + tf.bitwise.bitwise_and(bits, 255)
