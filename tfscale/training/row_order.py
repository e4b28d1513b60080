"""In which order the rows of arrays are read, pass after pass, and where a training goes on in it.

The order of every pass is that of one shuffle that is never begun again: a second `fit`, or a process that goes on with
a saved model, takes the passes after those that were read.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def row_batches(parts: Sequence[np.ndarray], rows: int, seed: int | None, skip: int = 0) -> tf.data.Dataset:
    """Batches (ids, targets, weights) of arrays' rows, each (B, T); the last one of a pass is padded with weight 0.

    Args:
        parts: ids (N, T), targets (N, T) and, where not every token counts alike, weights (N, T) or (N,).
        rows: rows B of a batch.
        seed: of the shuffle, which differs from pass to pass; None keeps the order.
        skip: batches to leave out. With any, the dataset has no end.
    """
    order = tf.data.Dataset.range(len(parts[0]))
    passes, rest = divmod(skip, math.ceil(len(parts[0]) / rows))
    if seed is not None:
        order = order.shuffle(len(parts[0]), seed=seed)
        # An iterator has the next order of the seed from when it is made, so a pass is left out without reading it. The
        # first order is never used: it was when the shape of batches was read from a first one.
        for _ in range(1 + passes):
            iter(order)
    order = order.batch(rows)
    if skip:
        order = order.repeat().skip(rest)
    tensors = [tf.constant(part) for part in parts]
    length = parts[0].shape[1]

    def batch(places: tf.Tensor) -> tuple[tf.Tensor, ...]:
        ids, targets, *weights = (tf.gather(tensor, places) for tensor in tensors)
        weight = weights[0] if weights else tf.ones_like(ids, tf.float32)
        if weight.shape.rank == 1:
            weight = tf.broadcast_to(weight[:, tf.newaxis], tf.shape(ids))
        typed = (tf.cast(ids, tf.int32), tf.cast(targets, tf.int32), tf.cast(weight, tf.float32))
        padding = [[0, rows - tf.shape(places)[0]], [0, 0]]
        return tuple(tf.ensure_shape(tf.pad(part, padding), (rows, length)) for part in typed)

    return order.map(batch, num_parallel_calls=tf.data.AUTOTUNE)


def batches_read(steps: int, into_epoch: int, batches: int, whole_passes: bool) -> int:
    """Returns how many batches of the order a training has behind it.

    Args:
        steps: steps that count: those of the model, or without a shuffle, which begins anew in each `fit`, of this one.
        into_epoch: those of them in the epoch that it goes on with.
        batches: batches of a pass.
        whole_passes: whether an epoch is a pass; then a new epoch begins with a new pass, whatever was read before.
    """
    if not whole_passes:
        return steps
    return math.ceil((steps - into_epoch) / batches) * batches + into_epoch
