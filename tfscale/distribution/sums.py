"""Sums over all replicas of a strategy, in as few messages as types allow."""

from collections.abc import Sequence

import tensorflow as tf


def summed_over_replicas(
    context: tf.distribute.ReplicaContext, values: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """Returns sums over all replicas, by ONE all-reduce where all are of one type.

    Args:
        context: that of the replica.
        values: of any shapes, the same on each replica.
    """
    # TensorFlow packs what it reduces together, which must be of one type.
    totals = list(values)
    for dtype in sorted({total.dtype.name for total in totals}):
        places = [index for index, total in enumerate(totals) if total.dtype.name == dtype]
        of_type = [totals[index] for index in places]
        reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, of_type)
        for index, total in zip(places, reduced, strict=True):
            totals[index] = total
    return totals
