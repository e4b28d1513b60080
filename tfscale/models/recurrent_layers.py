"""Recurrent layers with the same weights as Keras's, which train faster on a CPU.

Keras runs one step of time after the other, forward and backward. Here, what does not wait for the
step before is one matrix product over all steps: the input projection, and in an LSTM's backward
pass the gradients of both kernels, which a loop would add up step by step. On a GPU the layers call
Keras, which calls cuDNN.

`weight_drop` is dropout on the recurrent kernel, drawn once a call (Merity et al. 2018,
"AWD-LSTM"); Keras's own `recurrent_dropout` is one mask on the state for all steps of a call (Gal
and Ghahramani 2016).

Shapes: B batch, T time, D inputs, U units, G gates (4 of an LSTM, 3 of a GRU, 1 of a simple layer).
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfscale.models.dropout import dropped

States = tuple[tf.Tensor, ...]


class _Sequence:
    """The common part of the three layers; it comes before the Keras layer in the order of
    classes."""

    cell: keras.layers.Layer
    state_count: int
    go_backwards: bool
    stateful: bool
    unroll: bool
    return_sequences: bool
    return_state: bool
    _input_bias: Callable[[], tf.Tensor | float]
    """() -> what is added to the projected inputs."""
    _steps: Callable[..., tuple[tf.Tensor, tuple[tf.Tensor, ...]]]
    """Projected inputs (T, B, G U), recurrent kernel, first states, mask -> outputs (T, B, U) and
    last states."""

    def __init__(self, units: int, weight_drop: float = 0.0, **kwargs: object):
        super().__init__(units, **kwargs)  # type: ignore[call-arg]
        self.weight_drop = weight_drop

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """As Keras's layer: (B, T, D) -> (B, T, U), or the last step, and the states if they are
        asked for."""
        if self._left_to_keras(mask, training):
            stock = super().call  # type: ignore[misc]
            return stock(sequences, initial_state=initial_state, mask=mask, training=training)
        outputs, states = self.run(sequences, initial_state, training)
        outputs = outputs if self.return_sequences else outputs[:, -1]
        return (outputs, *states) if self.return_state else outputs

    def run(self, sequences, initial_state=None, training=False) -> tuple[tf.Tensor, States]:
        """(B, T, D) -> outputs (B, T, U) and the states after the last step, each (B, U)."""
        cell = self.cell
        x = tf.transpose(sequences, (1, 0, 2))
        time, batch, width = _dimensions(x)
        recurrent = _tensor(cell.recurrent_kernel, x.dtype)
        masks = None
        if training and self.weight_drop:
            recurrent = dropped(recurrent, self.weight_drop, cell.seed_generator.next())
        if training and cell.recurrent_dropout:
            shape = (batch, cell.units)
            masks = dropped(
                tf.ones(shape, x.dtype), cell.recurrent_dropout, cell.seed_generator.next(), shape
            )
        projected = tf.matmul(tf.reshape(x, (-1, width)), _tensor(cell.kernel, x.dtype))
        projected += _tensor(self._input_bias(), x.dtype)
        projected = tf.reshape(projected, (time, batch, projected.shape[-1]))
        # The first state of a cell is the output; an LSTM's second one stays float32.
        dtypes = [x.dtype, tf.float32][: self.state_count]
        if initial_state is None:
            initial_state = [tf.zeros((batch, cell.units), dtype) for dtype in dtypes]
        elif not isinstance(initial_state, list | tuple):
            initial_state = [initial_state]
        first = [tf.cast(s, dtype) for s, dtype in zip(initial_state, dtypes, strict=True)]
        outputs, states = self._steps(projected, recurrent, first, masks)
        return tf.transpose(outputs, (1, 0, 2)), states

    def with_state(self, sequences, states, training=False) -> tuple[tf.Tensor, ...]:
        """(B, T, D) and the first states, each (B, U) float32 -> outputs (B, T, U) and each last
        state, likewise.

        `__call__` would round an LSTM's cell state to the compute type; that is done only where
        cuDNN demands it.
        """
        if not self._left_to_keras(None, training):
            outputs, last = self.run(sequences, list(states), training)
        else:
            asked, self.return_state = self.return_state, True
            try:
                outputs, *last = self(sequences, initial_state=list(states), training=training)  # type: ignore[operator]
            finally:
                self.return_state = asked
        return outputs, *(tf.cast(state, tf.float32) for state in last)

    def _left_to_keras(self, mask, training) -> bool:
        cell = self.cell
        usual = cell.activation is keras.activations.tanh and cell.use_bias
        gate = getattr(cell, "recurrent_activation", None)
        usual = usual and gate in (None, keras.activations.sigmoid)
        usual = usual and getattr(cell, "reset_after", True)
        special = self.go_backwards or self.stateful or self.unroll
        special = special or mask is not None or (training and cell.dropout)
        drops = training and (self.weight_drop or cell.recurrent_dropout)
        on_gpu = bool(tf.config.list_logical_devices("GPU")) and not drops
        return bool(special or on_gpu or not usual)

    def get_config(self):
        return {**super().get_config(), "weight_drop": self.weight_drop}  # type: ignore[misc]


@keras.saving.register_keras_serializable("tfscale")
class LSTM(_Sequence, keras.layers.LSTM):
    """`keras.layers.LSTM` with `weight_drop` (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    Example:
        LSTM(256, return_sequences=True, weight_drop=0.5)(x)   # (B, T, D) -> (B, T, 256)
    """

    state_count = 2

    def _input_bias(self):
        return self.cell.bias

    def _steps(self, projected, recurrent, states, mask):
        h, c = states
        outputs, h, c = lstm_sequence(projected, recurrent, h, c, mask)
        return outputs, (h, c)


@keras.saving.register_keras_serializable("tfscale")
class GRU(_Sequence, keras.layers.GRU):
    """`keras.layers.GRU` with `weight_drop` (Cho et al. 2014, with the reset gate after the
    product, as in cuDNN)."""

    state_count = 1

    def _input_bias(self):
        return self.cell.bias[0]

    def _steps(self, projected, recurrent, states, mask):
        bias = _tensor(self.cell.bias[1], projected.dtype)

        def step(x, h):
            seen = h if mask is None else h * mask
            return gru_step(x, tf.matmul(seen, recurrent) + bias, h)

        return _loop(step, projected, states[0])


@keras.saving.register_keras_serializable("tfscale")
class SimpleRNN(_Sequence, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` with `weight_drop` (Elman 1990)."""

    state_count = 1

    def _input_bias(self):
        return self.cell.bias

    def _steps(self, projected, recurrent, states, mask):
        def step(x, h):
            return tf.tanh(x + tf.matmul(h if mask is None else h * mask, recurrent))

        return _loop(step, projected, states[0])


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
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Runs an LSTM over time, with a backward pass of its own; activations and cell state are
    float32 in every precision.

    Args:
        projected: inputs after their product with the kernel, plus bias: (T, B, 4 U).
        recurrent: recurrent kernel (U, 4 U), of the type of `projected`.
        h0: first output (B, U), of that type too.
        c0: first cell state (B, U) float32.
        mask: (B, U), multiplied into the output before it is seen by the next step; None for ones.

    Returns:
        Outputs (T, B, U), the last output and the last cell state.
    """
    dtype = projected.dtype
    time, batch, _ = _dimensions(projected)
    units = recurrent.shape[0]
    # sigmoid(z) = (1 + tanh(z / 2)) / 2. Of one function for all four gates XLA makes one loop, of
    # vector instructions.
    halved = tf.constant(np.repeat([0.5, 0.5, 1.0, 0.5], units), tf.float32)

    @tf.custom_gradient
    def run(projected, recurrent, h0, c0):
        arrays = [
            _array(time, dtype, (h0.shape[0], units)),
            _array(time, tf.float32, (h0.shape[0], units)),
            _array(time, dtype, (h0.shape[0], 4 * units)),
        ]

        def forward(t, h, c, outputs, cells, gates):
            z = projected[t] + tf.matmul(h if mask is None else h * mask, recurrent)
            activations = tf.tanh(tf.cast(z, tf.float32) * halved)
            take, keep, candidate, show = tf.split(activations, 4, axis=-1)
            c = 0.5 * ((1 + keep) * c + (1 + take) * candidate)
            h = tf.cast(0.5 * (1 + show) * tf.tanh(c), dtype)
            # In half precision an activation near 1 or -1 would lose what its gradient is made of;
            # z does not.
            kept = activations if dtype == tf.float32 else z
            return t + 1, h, c, outputs.write(t, h), cells.write(t, c), gates.write(t, kept)

        _, h, c, *arrays = _while(time, forward, (0, h0, c0, *arrays))
        outputs, cells, gates = (array.stack() for array in arrays)

        def gradient(d_outputs, d_h, d_c):
            activations = (
                gates if dtype == tf.float32 else tf.tanh(tf.cast(gates, tf.float32) * halved)
            )
            of_c, of_take, of_keep, of_candidate, of_show, keep = _factors(activations, cells, c0)
            turned = tf.transpose(recurrent)

            def backward(t, d_h, d_c, d_gates):
                at = time - 1 - t
                d_h = tf.cast(d_h + d_outputs[at], tf.float32)
                d_c = d_c + d_h * of_c[at]
                of_gates = (d_c * of_take[at], d_c * of_keep[at], d_c * of_candidate[at])
                d = tf.cast(tf.concat([*of_gates, d_h * of_show[at]], 1), dtype)
                d_h = tf.matmul(d, turned)
                d_h = d_h if mask is None else d_h * mask
                return t + 1, d_h, d_c * keep[at], d_gates.write(at, d)

            array = _array(time, dtype, (h0.shape[0], 4 * units))
            _, d_h, d_c, array = _while(time, backward, (0, d_h, d_c, array))
            d_gates = array.stack()
            seen = tf.concat([h0[None], outputs[:-1]], 0)
            seen = seen if mask is None else seen * mask
            # Sums over all steps and rows: one product instead of one a step.
            d_recurrent = tf.matmul(
                tf.reshape(seen, (-1, units)),
                tf.reshape(d_gates, (-1, 4 * units)),
                transpose_a=True,
            )
            return d_gates, d_recurrent, d_h, d_c

        return (outputs, h, c), gradient

    return run(projected, recurrent, h0, c0)


def _factors(activations: tf.Tensor, cells: tf.Tensor, c0: tf.Tensor) -> States:
    """Returns the factors of an LSTM's gradient that do not wait for that of the step after, for
    all steps at once: of c by h, of the four gates, and of c by the next c."""
    take, keep, candidate, show = tf.split(activations, 4, axis=-1)
    before = tf.concat([c0[None], cells[:-1]], 0)
    tanh = tf.tanh(cells)
    of_c = 0.5 * (1 + show) * (1 - tanh * tanh)
    of_take = 0.25 * candidate * (1 - take * take)
    of_keep = 0.25 * before * (1 - keep * keep)
    of_candidate = 0.5 * (1 + take) * (1 - candidate * candidate)
    of_show = 0.25 * tanh * (1 - show * show)
    return of_c, of_take, of_keep, of_candidate, of_show, 0.5 * (1 + keep)


def _loop(step: Callable, projected: tf.Tensor, h0: tf.Tensor) -> tuple[tf.Tensor, States]:
    """Steps with one state, which is the output: (T, B, G U) -> (T, B, U) and the last state."""
    time, _, _ = _dimensions(projected)

    def turn(t, h, outputs):
        h = step(projected[t], h)
        return t + 1, h, outputs.write(t, h)

    _, h, array = _while(time, turn, (0, h0, _array(time, projected.dtype, h0.shape)))
    return array.stack(), (h,)


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


def _tensor(weight: keras.Variable | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(weight), dtype)


def _dimensions(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Returns the sizes of a tensor, as integers where they are known."""
    dynamic = tf.shape(x)
    return [size if size is not None else dynamic[axis] for axis, size in enumerate(x.shape)]
