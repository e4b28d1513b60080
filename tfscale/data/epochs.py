"""The training windows of a data folder, epoch after epoch.

Shapes: T sequence length.
"""

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

from tfscale.data.manifest import Manifest
from tfscale.data.sharding import RowRange, batches_per_epoch, num_groups, windows_per_shard
from tfscale.data.windows import read_blocks, stored_dtype, windows_of

_CYCLE = 8
"""Shards of a group that are read in turn."""

# All random numbers are counter-based and named by what they are for, so that no state is carried
# from epoch to epoch.
_PHASE, _ORDER, _SHUFFLE = range(3)


@dataclass(frozen=True)
class Epochs:
    """The windows of each group of shards, without end. The group is a tensor: all share one graph.

    Attributes:
        data_dir: the data folder.
        manifest: its manifest.
        sequence_length: T, tokens of a window.
        global_batch_size: windows of a batch over all input pipelines.
        seed: seed of phases, order of shards, and shuffling.
        start_step: the first batch to give.
        shuffle_windows: windows in the shuffle buffers of all pipelines together.
    """

    data_dir: str
    manifest: Manifest
    sequence_length: int
    global_batch_size: int
    seed: int
    start_step: int
    shuffle_windows: int

    @cached_property
    def files(self) -> list[str]:
        """Paths of the shards."""
        shards = self.manifest.split("train").shards
        return [os.path.join(self.data_dir, shard.file) for shard in shards]

    @cached_property
    def windows(self) -> list[int]:
        """Windows that each shard gives in an epoch."""
        shards = self.manifest.split("train").shards
        return [windows_per_shard(shard.tokens, self.sequence_length) for shard in shards]

    @cached_property
    def groups(self) -> int:
        """Groups of shards, which are read side by side."""
        return num_groups(self.global_batch_size, len(self.files))

    @cached_property
    def rows(self) -> int:
        """Rows of a batch that a group gives."""
        return self.global_batch_size // self.groups

    @cached_property
    def steps(self) -> int:
        """Batches of an epoch."""
        split = self.manifest.split("train")
        return batches_per_epoch(split, self.sequence_length, self.global_batch_size)

    @cached_property
    def shuffled(self) -> int:
        """Windows in the shuffle buffer of a group."""
        return max(1, self.shuffle_windows // self.groups)

    def interleaved(self, plan: list[RowRange]) -> tf.data.Dataset:
        """Returns windows (T + 1,) in the order of the batches' rows.

        Args:
            plan: ranges of rows, which follow each other in each batch.
        """
        ranges = tf.constant([(rows.group, rows.first, rows.end) for rows in plan], tf.int64)
        groups = tf.data.Dataset.from_tensor_slices(ranges)
        if all((rows.first, rows.end) == (0, self.rows) for rows in plan):
            return groups.interleave(
                lambda rows: self._stream(rows[0]), cycle_length=len(plan), block_length=self.rows
            )

        def taken(rows: tf.Tensor) -> tf.data.Dataset:
            batches = self._stream(rows[0]).batch(self.rows, drop_remainder=True)
            return batches.map(lambda batch: batch[rows[1] : rows[2]])

        return groups.interleave(taken, cycle_length=len(plan), block_length=1).unbatch()

    def _stream(self, group: tf.Tensor) -> tf.data.Dataset:
        first_epoch, skipped = divmod(self.start_step, self.steps)
        # The epochs differ by their number alone, so the earlier ones need not be read.
        epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
        windows = epochs.flat_map(
            lambda epoch: self._epoch(group, epoch).take(self.steps * self.rows)
        )
        return windows.skip(skipped * self.rows)

    def _epoch(self, group: tf.Tensor, epoch: tf.Tensor) -> tf.data.Dataset:
        # A shuffle of tf.data also depends on the graph's seed, which is the user's
        # `tf.random.set_seed`. This is inside of a function's graph: only that graph's seed is set.
        # (With 0, TensorFlow compares our seed, a tensor, with 0.)
        tf.random.set_seed(1)
        numbers = tf.range(group, len(self.files), self.groups)
        # A random number for each shard, of which this group's decide about its order.
        keys = tf.gather(self._random(_ORDER, epoch, group, len(self.files)), numbers)
        numbers = tf.gather(numbers, tf.argsort(keys, stable=True))
        shards = tf.data.Dataset.from_tensor_slices(
            (
                tf.gather(tf.constant(self.files), numbers),
                tf.gather(tf.constant(self.windows, tf.int64), numbers),
                tf.gather(
                    self._random(_PHASE, epoch, group, len(self.files)) % self.sequence_length,
                    numbers,
                ),
            )
        )
        most_shards = -(-len(self.files) // self.groups)
        windows = shards.interleave(
            self._shard, cycle_length=min(_CYCLE, most_shards), block_length=1
        )
        if self.shuffled == 1:
            return windows
        seed = self._random(_SHUFFLE, epoch, group, 1)[0]
        return windows.shuffle(self.shuffled, seed=seed, reshuffle_each_iteration=False)

    def _random(self, purpose: int, epoch: tf.Tensor, group: tf.Tensor, count: int) -> tf.Tensor:
        """Returns numbers (count,) from 0 to 2**31 - 1 of the purpose, epoch and group."""
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.constant(purpose, tf.int64)])
        for data in (epoch, group):
            seed = tf.random.fold_in(seed, data, alg="philox")
        return tf.random.stateless_uniform(
            (count,), seed, 0, np.iinfo(np.int32).max, tf.int64, alg="philox"
        )

    def _shard(self, file: tf.Tensor, windows: tf.Tensor, phase: tf.Tensor) -> tf.data.Dataset:
        dtype = stored_dtype(self.manifest)
        tokens = read_blocks(file, dtype)
        return windows_of(tokens, self.sequence_length, self.manifest.end_id, dtype, phase).take(
            windows
        )
