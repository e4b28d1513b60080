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

from collections.abc import Callable

import keras
import tensorflow as tf

from tfscale.models.dropout import dropped
from tfscale.models.recurrent_steps import (
    States,
    cast_weight,
    dimensions,
    gru_step,
    loop,
    lstm_sequence,
)


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
    """Projected inputs (T, B, G U), recurrent kernel, first states, mask, and what is kept of the
    states before each step (T, B, 1) -> outputs (T, B, U) and last states."""

    def __init__(self, units: int, weight_drop: float = 0.0, **kwargs: object):
        super().__init__(units, **kwargs)  # type: ignore[call-arg]
        self.weight_drop = weight_drop

    def call(self, sequences, initial_state=None, mask=None, training=False, begins=None):
        """As Keras's layer: (B, T, D) -> (B, T, U), or the last step, and the states if they are
        asked for. Where `begins` (B, T) bool is true, the state before the step is zero."""
        if begins is None and self._left_to_keras(mask, training):
            stock = super().call  # type: ignore[misc]
            return stock(sequences, initial_state=initial_state, mask=mask, training=training)
        outputs, states = self.run(sequences, initial_state, training, begins)
        outputs = outputs if self.return_sequences else outputs[:, -1]
        return (outputs, *states) if self.return_state else outputs

    def run(
        self, sequences, initial_state=None, training=False, begins=None
    ) -> tuple[tf.Tensor, States]:
        """(B, T, D) -> outputs (B, T, U) and the states after the last step, each (B, U)."""
        cell = self.cell
        x = tf.transpose(sequences, (1, 0, 2))
        time, batch, width = dimensions(x)
        recurrent = cast_weight(cell.recurrent_kernel, x.dtype)
        masks = None
        if training and self.weight_drop:
            recurrent = dropped(recurrent, self.weight_drop, cell.seed_generator.next())
        if training and cell.recurrent_dropout:
            shape = (batch, cell.units)
            masks = dropped(
                tf.ones(shape, x.dtype), cell.recurrent_dropout, cell.seed_generator.next(), shape
            )
        projected = tf.matmul(tf.reshape(x, (-1, width)), cast_weight(cell.kernel, x.dtype))
        projected += cast_weight(self._input_bias(), x.dtype)
        projected = tf.reshape(projected, (time, batch, projected.shape[-1]))
        # The first state of a cell is the output; an LSTM's second one stays float32.
        dtypes = [x.dtype, tf.float32][: self.state_count]
        if initial_state is None:
            initial_state = [tf.zeros((batch, cell.units), dtype) for dtype in dtypes]
        elif not isinstance(initial_state, list | tuple):
            initial_state = [initial_state]
        first = [tf.cast(s, dtype) for s, dtype in zip(initial_state, dtypes, strict=True)]
        kept = None
        if begins is not None:
            kept = tf.transpose(1 - tf.cast(begins, tf.float32))[..., None]
        outputs, states = self._steps(projected, recurrent, first, masks, kept)
        return tf.transpose(outputs, (1, 0, 2)), states

    def with_state(self, sequences, states, training=False, begins=None) -> tuple[tf.Tensor, ...]:
        """(B, T, D) and the first states, each (B, U) float32 -> outputs (B, T, U) and each last
        state, likewise; `begins` as in `call`.

        `__call__` would round an LSTM's cell state to the compute type; that is done only where
        cuDNN demands it.
        """
        if begins is not None or not self._left_to_keras(None, training):
            outputs, last = self.run(sequences, list(states), training, begins)
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

    def _steps(self, projected, recurrent, states, mask, kept):
        h, c = states
        outputs, h, c = lstm_sequence(projected, recurrent, h, c, mask, kept)
        return outputs, (h, c)


@keras.saving.register_keras_serializable("tfscale")
class GRU(_Sequence, keras.layers.GRU):
    """`keras.layers.GRU` with `weight_drop` (Cho et al. 2014, with the reset gate after the
    product, as in cuDNN)."""

    state_count = 1

    def _input_bias(self):
        return self.cell.bias[0]

    def _steps(self, projected, recurrent, states, mask, kept):
        bias = cast_weight(self.cell.bias[1], projected.dtype)

        def step(x, h):
            seen = h if mask is None else h * mask
            return gru_step(x, tf.matmul(seen, recurrent) + bias, h)

        return loop(step, projected, states[0], kept)


@keras.saving.register_keras_serializable("tfscale")
class SimpleRNN(_Sequence, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` with `weight_drop` (Elman 1990)."""

    state_count = 1

    def _input_bias(self):
        return self.cell.bias

    def _steps(self, projected, recurrent, states, mask, kept):
        def step(x, h):
            return tf.tanh(x + tf.matmul(h if mask is None else h * mask, recurrent))

        return loop(step, projected, states[0], kept)
