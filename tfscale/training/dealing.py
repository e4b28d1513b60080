"""Deals the rows of a global batch out to the replicas of a strategy.

Every worker has the whole batch and takes the rows of its own replicas; a digest of the batch,
added up over the workers, tells whether they have the same.

Shapes: B rows of the global batch, R replicas.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfscale.compat.keras_trainer import Nested
from tfscale.distribution.workers import Workers
from tfscale.errors import ConfigError
from tfscale.training.fit.input_errors import refuse_where
from tfscale.training.objective import row_count
from tfscale.training.slices import check_sliceable, sliced, static_rows


class Dealer:
    """Runs a function on every replica's rows of a batch.

    Args:
        workers: the processes of the strategy.
        parts: parts that every replica cuts its rows into; the rows of a batch that is a multiple
            of replicas x parts are called even.
    """

    def __init__(self, workers: Workers, parts: int = 1):
        self.workers, self.strategy, self.parts = workers, workers.strategy, parts
        self.replicas = self.strategy.num_replicas_in_sync

    def run(self, function: Callable, batch: Sequence[Nested]) -> Sequence[tf.Tensor]:
        """Runs a function on all replicas, in cross-replica context.

        Args:
            function: function (rows of the replica, structured as `batch`; B as float32; whether
                the rows are even; B if the shape says it, or None).
            batch: inputs (B, ...) in any structure, then what goes with them; or what the strategy
                has distributed already.

        Returns:
            What the function gives, for every replica.

        Raises:
            ConfigError: sparse tensors, or rows that a TPU cannot cut evenly.
        """
        if any(map(_is_distributed, keras.tree.flatten(batch))):
            return self._run_distributed(function, batch)
        check_sliceable(batch)
        rows, unit, static = row_count(batch[0]), self.replicas * self.parts, static_rows(batch[0])
        on_tpu = isinstance(self.strategy, tf.distribute.TPUStrategy)
        if on_tpu and (static is None or static % unit):
            raise ConfigError(
                f"a TPU needs batches of one size that {unit} (replicas x micro_batches) divides;"
                f" the data gives batches of {static or 'any number of'} rows. Batch it by"
                " dataset.batch(n, drop_remainder=True)"
            )
        if static is not None:
            return self._run(function, batch, rows, static % unit == 0, static)
        if rows % unit == 0:
            result = self._run(function, batch, rows, True, None)
        else:
            result = self._run(function, batch, rows, False, None)
        return result

    def _run(self, function, batch, rows, even, static):
        # Replicas get lists of tensors: what is None stays here.
        places = [part is not None for part in keras.tree.flatten(batch)]
        checks = self._checks(batch)

        def own_rows(context):
            own = sliced(batch, rows, context.replica_id_in_sync_group, self.replicas)
            return tuple(part for part in keras.tree.flatten(own) if part is not None)

        def replica(*own):
            remaining = iter(own)
            flat = [next(remaining) if is_there else None for is_there in places]
            structured = keras.tree.pack_sequence_as(batch, flat)
            return function(structured, tf.cast(rows, tf.float32), even, static)

        with tf.control_dependencies(checks):
            if self.replicas == 1:
                return self.strategy.run(
                    replica, args=tuple(p for p in keras.tree.flatten(batch) if p is not None)
                )
            dealt = self.strategy.experimental_distribute_values_from_function(own_rows)
            return self.strategy.run(replica, args=dealt)

    def _run_distributed(self, function, batch):
        def replica(own):
            rows = tf.cast(row_count(own[0]), tf.float32)
            context = tf.distribute.get_replica_context()
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
            return function(own, total, False, None)

        return self.strategy.run(replica, args=(batch,))

    def _checks(self, batch: Nested) -> list[tf.Tensor]:
        """Returns what fails where the workers' batches are not the same."""
        if self.workers.count == 1:
            return []
        digest = tf.add_n([_digest(p) for p in keras.tree.flatten(batch) if p is not None])

        def summed():
            context = tf.distribute.get_replica_context()
            # A copy on the replica's device: TensorFlow sends the sum to where this is.
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(digest))

        # Integers add up without rounding, and wrap around alike on all workers.
        total = self.strategy.experimental_local_results(self.strategy.run(summed))[0]
        return [
            refuse_where(
                total != digest * self.replicas,
                lambda: tf.constant(
                    "the workers read different batches: each must read the same rows in the same"
                    " order. Call keras.utils.set_random_seed(...) before fit, or give a dataset"
                    " that shuffles by a seed"
                ),
            )
        ]


def _is_distributed(part: object) -> bool:
    return isinstance(part, tf.distribute.DistributedValues)


def _digest(part: tf.Tensor) -> tf.Tensor:
    """Returns an int32 that depends on all values of a tensor and on their places."""
    values = part.flat_values if isinstance(part, tf.RaggedTensor) else part
    if values.dtype == tf.string:
        numbers = tf.cast(tf.strings.to_hash_bucket_fast(values, 2**31 - 1), tf.int32)
    elif values.dtype == tf.float32:
        numbers = tf.bitcast(values, tf.int32)
    else:
        numbers = tf.cast(values, tf.int32)
    flat = tf.reshape(numbers, (-1,))
    return tf.reduce_sum(flat * (2 * tf.range(tf.size(flat)) + 1))
