"""Reads the rows of arrays in the order of one shuffle that is never begun again.

A second `fit`, or a process that goes on with a saved model, reads the passes after those that were
read.

Shapes: N rows of the arrays, B rows of a batch.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def row_batches(
    parts: Sequence[np.ndarray], rows: int, seed: int | None, skip: int = 0
) -> tf.data.Dataset:
    """Returns batches of the rows of arrays; the last batch of a pass has those that are left.

    Args:
        parts: arrays (N, ...), such as ids, targets and weights.
        rows: rows B of a batch.
        seed: of the shuffle, which differs from pass to pass; None keeps the order.
        skip: batches to leave out. With any, the dataset has no end.
    """
    order = tf.data.Dataset.range(len(parts[0]))
    passes, rest = divmod(skip, math.ceil(len(parts[0]) / rows))
    if seed is not None:
        order = order.shuffle(len(parts[0]), seed=seed)
        # An iterator gets the next order when it is made, so a pass is left out without being read.
        # The first order goes unused since the time when a first batch was read for its shape.
        for _ in range(1 + passes):
            iter(order)
    order = order.batch(rows)
    if skip:
        order = order.repeat().skip(rest)
    tensors = [tf.constant(part) for part in parts]
    return order.map(lambda places: tuple(tf.gather(tensor, places) for tensor in tensors))


def batches_read(steps: int, into_epoch: int, batches: int, whole_passes: bool) -> int:
    """Returns how many batches of the order a training has behind it.

    Args:
        steps: all steps of the model, or those of this `fit` if rows keep their order, which begins
            anew in each.
        into_epoch: how many of them are in the epoch that goes on.
        batches: batches of a pass.
        whole_passes: whether an epoch is a pass. Then a new epoch begins with a new pass, whatever
            was read before.
    """
    if not whole_passes:
        return steps
    return math.ceil((steps - into_epoch) / batches) * batches + into_epoch
