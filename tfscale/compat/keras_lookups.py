"""Lookups of `keras.ops.take`, which `Embedding` uses, with ids beyond the table.

TensorFlow ends with an error on a CPU. A program of XLA's takes the last row, and a GPU zeros,
without a word: a model would train on other text than it was given.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from keras.src.backend.tensorflow import numpy as backend_numpy


@contextlib.contextmanager
def nan_beyond_tables() -> Iterator[None]:
    """Has ids beyond a table of floats give NaN, in what is traced or computed in the block.

    So the loss is not finite, by which the step is refused. As in Keras, ids from -V to -1 count
    from the end of a table of V rows.
    """
    take = backend_numpy.take

    def checked(x, indices, axis=None):
        found = take(x, indices, axis)
        rows = x.shape[0] if axis == 0 and len(x.shape) else None
        if rows is None or not isinstance(found, tf.Tensor) or not found.dtype.is_floating:
            return found
        ids = tf.cast(indices, tf.int64)
        known = (ids >= -rows) & (ids < rows)
        inner = [1] * (len(x.shape) - 1)
        known = tf.reshape(known, tf.concat([tf.shape(ids), inner], 0))
        return tf.where(known, found, tf.constant(float("nan"), found.dtype))

    backend_numpy.take = checked
    try:
        yield
    finally:
        backend_numpy.take = take
