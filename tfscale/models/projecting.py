"""Logits of a large vocabulary, computed for a part of it at a time.

Keras transposes a table that is also the output projection, and oneDNN lays it out anew: either is
a copy of what is most of a small language model's memory. Shapes: N tokens, D width of the hidden
states, V vocabulary.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

_PART = 1 << 22
"""Numbers of the output's weights that are read at a time."""


def projection(
    project: Callable[[tf.Tensor], tf.Tensor],
    variables: Sequence[tuple[keras.Variable, int]],
    count: int,
) -> Callable[[tf.Tensor], np.ndarray]:
    """Returns a function from hidden states (..., D) to logits (..., V) float32.

    All of them at once where the variables have different numbers of entries: one of them is then
    no weight with an entry for each token, whatever its axis.

    Args:
        project: computes logits; each of them depends on the entries of its own token alone.
        variables: the weights that `project` reads, and the axis along which each has an entry for
            each token.
        count: V; there may be more entries, which `project` leaves out.

    Example:
        table = network.token_embedding.embeddings
        logits = projection(network.project, [(table, 0)], network.config.vocabulary_size)(hidden)
    """
    numbers = max(int(np.prod(variable.shape, dtype=int)) for variable, _ in variables)
    step = max(1, count * _PART // numbers)
    entries = {int(variable.shape[axis]) for variable, axis in variables}
    if step >= count or len(entries) > 1 or min(entries) < count:
        return lambda hidden: np.asarray(project(hidden), np.float32)

    @tf.function(reduce_retracing=True)
    def of_part(hidden, *parts):
        scope = keras.StatelessScope()
        for (variable, _), part in zip(variables, parts, strict=True):
            scope.add_update((variable, part))
        with scope:
            return project(hidden)

    def whole(hidden: tf.Tensor) -> np.ndarray:
        found = np.empty((*hidden.shape[:-1], count), np.float32)
        for start in range(0, count, step):
            rows = slice(start, min(start + step, count))
            parts = [
                tf.convert_to_tensor(variable.value)[(slice(None),) * axis + (rows,)]
                for variable, axis in variables
            ]
            found[..., rows] = of_part(hidden, *parts)
        return found

    return whole
