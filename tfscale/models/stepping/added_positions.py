"""A layer of somebody's own that adds a table of positions to what it computes of each token.

Nobody can look into its code. Whether it is one is found by comparison: what it gives for a window,
minus what it gives for each token alone, must be the same for windows of other tokens.

Shapes: C context, S tokens of a call, D width.
"""

import keras
import numpy as np
import tensorflow as tf

from tfscale.models.stepping.layer_step import LayerCall, LayerStep

_TOLERANCE = 1e-4
"""Largest difference of two tables that are the same, in units of their spread."""


class AddedPositionsStep(LayerStep):
    """Computes the tokens as if they stood at the beginning, and adds what their places differ by.

    Args:
        call: the call.
        context: C.
        table: what each position adds to what the first one does, (C, D).
    """

    name = "added_positions"
    layers = "a layer of one's own that adds a table of positions, found by comparison"
    keeps = "positions"

    def __init__(self, call: LayerCall, context: int, table: np.ndarray):
        super().__init__(call, context)
        self._table = table.astype(np.float32)

    @classmethod
    def classes(cls):
        return ()

    def step(self, arguments, kept, place, compute):
        output = compute(**arguments)
        own = tf.gather(tf.constant(self._table), place.positions)
        return output + (own - self._table[: output.shape[1]])[None], {}


def added_positions(first: LayerCall, second: LayerCall, context: int) -> LayerStep | None:
    """Returns the step of a layer that adds a table of positions; None for any other layer.

    Args:
        first: its call in the whole forward pass over C tokens.
        second: the same with other tokens.
        context: C.
    """
    tables = [_table(call, context) for call in (first, second)]
    if tables[0] is None or tables[1] is None:
        return None
    unit = float(np.std(tables[0])) + 1e-6
    if np.abs(tables[0] - tables[1]).max() > _TOLERANCE * unit:
        return None
    return AddedPositionsStep(first, context, tables[0])


def _table(call: LayerCall, context: int) -> np.ndarray | None:
    """Returns the vectors that a layer adds at each position, (C, D).

    None where it does not give C vectors for C tokens.
    """
    name = next(iter(call.arguments), "")
    given = call.arguments.get(name)
    if given is None or not tf.is_tensor(given) or not tf.is_tensor(call.output):
        return None
    if given.shape[:2] != (1, context) or call.output.shape[:2] != (1, context):
        return None
    if call.output.shape.rank != 3:
        return None
    others = {other: value for other, value in call.arguments.items() if other != name}
    if any(tf.is_tensor(part) for part in keras.tree.flatten(others)):
        return None
    # Each token is a row of its own.
    alone = call.layer.call(tf.reshape(given, (context, 1, *given.shape[2:])), **others)
    if alone.shape != (context, 1, call.output.shape[-1]):
        return None
    table = np.asarray(call.output)[0] - np.asarray(alone)[:, 0]
    # At the first position nothing differs.
    return table if np.abs(table[0]).max() <= 1e-5 * (1 + np.abs(table).max()) else None
