"""Recurrent layers: the state of the cell is carried from token to token.

Shapes: B rows (one), T tokens, D inputs, U units.
"""

import keras
import numpy as np
import tensorflow as tf

from tfscale.models.stepping.layer_step import LayerCall, LayerStep
from tfscale.registry import register

_WITH_OUTPUT_IN_STATE = (
    keras.layers.LSTMCell,
    keras.layers.GRUCell,
    keras.layers.SimpleRNNCell,
)
"""Cells whose output is their first state."""


@register
class RecurrentStep(LayerStep):
    """Calls the layer's cell, which takes one token.

    A masked token (`mask_zero`) changes neither the state nor the output, as in Keras.
    """

    name = "recurrent"
    layers = "`LSTM`, `GRU`, `SimpleRNN`, `RNN` of any cell or of stacked ones"
    keeps = "state"
    condition = "`return_sequences=True`, forwards, without `stateful` and `initial_state`"

    def __init__(self, call: LayerCall, context: int):
        super().__init__(call, context)
        layer = call.layer
        for wrong, reason in (
            (not layer.return_sequences, "gives the last token alone (return_sequences=False)"),
            (layer.go_backwards, "reads from the end (go_backwards=True)"),
            (layer.stateful, "carries its state from batch to batch (stateful=True)"),
            (call.arguments.get("initial_state") is not None, "starts from a state that is given"),
            (len(np.shape(call.arguments["sequences"])) != 3, "does not read vectors (B, T, D)"),
        ):
            if wrong:
                raise call.refused(reason)
        self._first = layer.get_initial_state(batch_size=1)
        states = keras.tree.flatten(self._first)
        if any(np.asarray(state).any() for state in states):
            raise call.refused("does not start from zeros")
        self._last = _last_cell(layer.cell)
        if call.arguments.get("mask") is not None and self._last is None:
            raise call.refused(
                "leaves masked tokens (mask_zero=True) out, and its cell is not one of Keras's"
            )
        names = ["h", "c"] if isinstance(layer.cell, keras.layers.LSTMCell) else ["h"]
        if len(states) != len(names):
            names = [str(number) for number in range(len(states))]
        self.shapes = {name: tuple(state.shape) for name, state in zip(names, states, strict=True)}

    @classmethod
    def classes(cls):
        return (keras.layers.RNN,)

    def step(self, arguments, kept, place, compute):
        before = [kept[name] for name in self.shapes]
        x = arguments["sequences"]
        output, after = self.layer.cell(
            tf.reshape(x, (1, x.shape[-1])), keras.tree.pack_sequence_as(self._first, before)
        )
        after = keras.tree.flatten(after)
        mask = arguments.get("mask")
        if mask is not None:
            read = tf.reshape(mask, (1, 1))
            masked_output = self._output_before(before)
            output = tf.where(read, output, masked_output)
            after = [tf.where(read, new, old) for new, old in zip(after, before, strict=True)]
        output = tf.reshape(output, (1, 1, output.shape[-1]))
        new = dict(zip(self.shapes, after, strict=True))
        if self.layer.return_state:
            return (output, *after), new
        return output, new

    def _output_before(self, states: list[tf.Tensor]) -> tf.Tensor:
        """The output of the token before, (1, U)."""
        nested = keras.tree.pack_sequence_as(self._first, states)
        last = keras.tree.flatten(nested)[-1 if self._last is None else self._last]
        return tf.zeros_like(last) if self.layer.zero_output_for_mask else last


def _last_cell(cell: object) -> int | None:
    """Returns which of all states is also the output; None where it is not known."""
    if isinstance(cell, _WITH_OUTPUT_IN_STATE):
        return 0
    if isinstance(cell, keras.layers.StackedRNNCells) and all(
        isinstance(inner, _WITH_OUTPUT_IN_STATE) for inner in cell.cells
    ):
        return -len(keras.tree.flatten(cell.cells[-1].state_size))
    return None
