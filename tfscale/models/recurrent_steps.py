"""The arithmetic of recurrent layers: one step, and all steps of a sequence.

An LSTM's sequence has a backward pass of its own, in which the gradients of both kernels are one
matrix product over all steps; a loop would add them up step by step.

Shapes: B batch, T time, U units, G gates (4 of an LSTM, 3 of a GRU, 1 of a simple layer).
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

States = tuple[tf.Tensor, ...]


def lstm_step(gates: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One step of an LSTM in float32: gates (B, 4 U) before their activation and c (B, U) -> h, c.

    The order of the gates is Keras's: input, forget, candidate, output.
    """
    take, keep, candidate, show = tf.split(gates, 4, axis=-1)
    c = tf.sigmoid(keep) * c + tf.sigmoid(take) * tf.tanh(candidate)
    return tf.sigmoid(show) * tf.tanh(c), c


def gru_step(x: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor) -> tf.Tensor:
    """One step of a GRU: input and state after their products, each (B, 3 U), and h (B, U) -> h.

    The order of the gates is Keras's: update, reset, candidate.
    """
    x_update, x_reset, x_candidate = tf.split(x, 3, axis=-1)
    h_update, h_reset, h_candidate = tf.split(recurrent, 3, axis=-1)
    update, reset = tf.sigmoid(x_update + h_update), tf.sigmoid(x_reset + h_reset)
    return update * h + (1 - update) * tf.tanh(x_candidate + reset * h_candidate)


def lstm_sequence(
    projected: tf.Tensor,
    recurrent: tf.Tensor,
    h0: tf.Tensor,
    c0: tf.Tensor,
    mask: tf.Tensor | None = None,
    kept: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Runs an LSTM over time, with a backward pass of its own; activations and cell state are
    float32 in every precision.

    Args:
        projected: inputs after their product with the kernel, plus bias: (T, B, 4 U).
        recurrent: recurrent kernel (U, 4 U), of the type of `projected`.
        h0: first output (B, U), of that type too.
        c0: first cell state (B, U) float32.
        mask: (B, U), multiplied into the output before it is seen by the next step; None for ones.
        kept: (T, B, 1) float32, multiplied into both states before each step, 0 where a document
            begins; None for ones.

    Returns:
        Outputs (T, B, U), the last output and the last cell state.
    """
    dtype = projected.dtype
    time, batch, _ = dimensions(projected)
    units = recurrent.shape[0]
    # sigmoid(z) = (1 + tanh(z / 2)) / 2. Of one function for all four gates XLA makes one loop, of
    # vector instructions.
    halved = tf.constant(np.repeat([0.5, 0.5, 1.0, 0.5], units), tf.float32)

    kept_h = None if kept is None else tf.cast(kept, dtype)

    @tf.custom_gradient
    def run(projected, recurrent, h0, c0):
        arrays = [
            _array(time, dtype, (h0.shape[0], units)),
            _array(time, tf.float32, (h0.shape[0], units)),
            _array(time, dtype, (h0.shape[0], 4 * units)),
        ]

        def forward(t, h, c, outputs, cells, gates):
            h, c = _scaled(h, kept_h, t), _scaled(c, kept, t)
            z = projected[t] + tf.matmul(h if mask is None else h * mask, recurrent)
            activations = tf.tanh(tf.cast(z, tf.float32) * halved)
            take, keep, candidate, show = tf.split(activations, 4, axis=-1)
            c = 0.5 * ((1 + keep) * c + (1 + take) * candidate)
            h = tf.cast(0.5 * (1 + show) * tf.tanh(c), dtype)
            # In half precision an activation near 1 or -1 would lose what its gradient is made of;
            # z does not.
            saved = activations if dtype == tf.float32 else z
            return t + 1, h, c, outputs.write(t, h), cells.write(t, c), gates.write(t, saved)

        _, h, c, *arrays = _while(time, forward, (0, h0, c0, *arrays))
        outputs, cells, gates = (array.stack() for array in arrays)

        def gradient(d_outputs, d_h, d_c):
            activations = (
                gates if dtype == tf.float32 else tf.tanh(tf.cast(gates, tf.float32) * halved)
            )
            cells_before = tf.concat([c0[None], cells[:-1]], 0)
            if kept is not None:
                cells_before *= kept
            of_c, of_take, of_keep, of_candidate, of_show, keep = _factors(
                activations, cells, cells_before
            )
            if kept is not None:
                keep *= kept
            turned = tf.transpose(recurrent)

            def backward(t, d_h, d_c, d_gates):
                at = time - 1 - t
                d_h = tf.cast(d_h + d_outputs[at], tf.float32)
                d_c = d_c + d_h * of_c[at]
                of_gates = (d_c * of_take[at], d_c * of_keep[at], d_c * of_candidate[at])
                d = tf.cast(tf.concat([*of_gates, d_h * of_show[at]], 1), dtype)
                d_h = tf.matmul(d, turned)
                d_h = d_h if mask is None else d_h * mask
                return t + 1, _scaled(d_h, kept_h, at), d_c * keep[at], d_gates.write(at, d)

            array = _array(time, dtype, (h0.shape[0], 4 * units))
            _, d_h, d_c, array = _while(time, backward, (0, d_h, d_c, array))
            d_gates = array.stack()
            seen = tf.concat([h0[None], outputs[:-1]], 0)
            seen = seen if mask is None else seen * mask
            seen = seen if kept is None else seen * kept_h
            # Sums over all steps and rows: one product instead of one a step.
            d_recurrent = tf.matmul(
                tf.reshape(seen, (-1, units)),
                tf.reshape(d_gates, (-1, 4 * units)),
                transpose_a=True,
            )
            return d_gates, d_recurrent, d_h, d_c

        return (outputs, h, c), gradient

    return run(projected, recurrent, h0, c0)


def _factors(activations: tf.Tensor, cells: tf.Tensor, before: tf.Tensor) -> States:
    """Returns the factors of an LSTM's gradient that do not wait for that of the step after, for
    all steps at once: of c by h, of the four gates, and of c by the next c. `before` is the c that
    each step begins with."""
    take, keep, candidate, show = tf.split(activations, 4, axis=-1)
    tanh = tf.tanh(cells)
    of_c = 0.5 * (1 + show) * (1 - tanh * tanh)
    of_take = 0.25 * candidate * (1 - take * take)
    of_keep = 0.25 * before * (1 - keep * keep)
    of_candidate = 0.5 * (1 + take) * (1 - candidate * candidate)
    of_show = 0.25 * tanh * (1 - show * show)
    return of_c, of_take, of_keep, of_candidate, of_show, 0.5 * (1 + keep)


def loop(
    step: Callable, projected: tf.Tensor, h0: tf.Tensor, kept: tf.Tensor | None = None
) -> tuple[tf.Tensor, States]:
    """Steps with one state, which is the output: (T, B, G U) -> (T, B, U) and the last state.

    `kept` is as in `lstm_sequence`.
    """
    time, _, _ = dimensions(projected)
    kept = None if kept is None else tf.cast(kept, projected.dtype)

    def turn(t, h, outputs):
        h = _scaled(h, kept, t)
        h = step(projected[t], h)
        return t + 1, h, outputs.write(t, h)

    _, h, array = _while(time, turn, (0, h0, _array(time, projected.dtype, h0.shape)))
    return array.stack(), (h,)


def _scaled(state: tf.Tensor, factors: tf.Tensor | None, t: tf.Tensor) -> tf.Tensor:
    """Returns a state (B, U) times the factors (B, 1) of a step; as it is where there are none."""
    return state if factors is None else state * factors[t]


def _while(
    time: int | tf.Tensor, body: Callable, start: Sequence[tf.Tensor]
) -> Sequence[tf.Tensor]:
    # XLA must know a bound to take gradients through a loop; it does where the length is known.
    bound = time if isinstance(time, int) else None
    return tf.while_loop(
        lambda t, *_: t < time, body, start, parallel_iterations=1, maximum_iterations=bound
    )


def _array(time: int | tf.Tensor, dtype: tf.DType, shape: Sequence[int | None]) -> tf.TensorArray:
    return tf.TensorArray(dtype, time, element_shape=shape)


def cast_weight(weight: keras.Variable | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(weight), dtype)


def dimensions(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Returns the sizes of a tensor, as integers where they are known."""
    dynamic = tf.shape(x)
    return [size if size is not None else dynamic[axis] for axis, size in enumerate(x.shape)]
