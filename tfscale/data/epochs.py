"""The training windows of some shards, epoch after epoch.

Shapes: T sequence length.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

from tfscale.data.index import ShardIndex
from tfscale.data.manifest import Manifest
from tfscale.data.random_access import WindowReader
from tfscale.data.sharding import windows_per_shard
from tfscale.data.windows import read_blocks, stored_dtype, windows_of

_CYCLE = 8
"""Shards of a group that are read in turn."""
_LOOKED_UP = 16
"""Windows of all groups together that are looked up in the index at a time."""
READ_AND_DROPPED = 4_000_000
"""Tokens of all groups before their first windows that are read and dropped, which takes a second;
what comes after them is then read in one go, and not looked up in the index."""

LOOKUP_TOKENS = 16_000
"""Tokens that are read in one go in the time in which the index finds one window."""

# All random numbers are counter-based and named by what they are for, so that no state is carried
# from epoch to epoch.
_PHASE, _ORDER, _SHUFFLE = range(3)


@dataclass(frozen=True)
class Epochs:
    """The windows of each group of shards, without end. The group is a tensor: all share one graph.

    Attributes:
        data_dir: the data folder.
        manifest: its manifest.
        index: its index; None reads and drops what comes before the first window in its epoch.
        shards: numbers of the shards that are read, in the training split; group g has every P-th
            of them, from the g-th on.
        groups: P, groups of shards.
        per_epoch: for each group the windows of an epoch.
        sequence_length: T, tokens of a window.
        seed: seed of phases, order of shards, and shuffling.
        shuffled: windows in the shuffle buffer of a group.
        stream: number of the stream, if several with the same seed are mixed.
    """

    data_dir: str
    manifest: Manifest
    index: ShardIndex | None
    shards: list[int]
    groups: int
    per_epoch: list[int]
    sequence_length: int
    seed: int
    shuffled: int
    stream: int = 0

    @cached_property
    def files(self) -> list[str]:
        """Paths of all training shards."""
        shards = self.manifest.split("train").shards
        return [os.path.join(self.data_dir, shard.file) for shard in shards]

    @cached_property
    def windows(self) -> list[int]:
        """Windows that each of all training shards gives in an epoch."""
        shards = self.manifest.split("train").shards
        return [windows_per_shard(shard.tokens, self.sequence_length) for shard in shards]

    @cached_property
    def borders(self) -> np.ndarray:
        """The first window of each shard where all windows are numbered, and the end of them."""
        return np.cumsum([0, *self.windows])

    def from_window(self, group: tf.Tensor, start: tf.Tensor | int) -> tf.data.Dataset:
        """Returns the windows (T + 1,) of a group without end, in their stored type.

        Args:
            group: number of the group.
            start: the first window to give, counted from the first of the first epoch.
        """
        # The epochs differ by their number alone, so the earlier ones need not be read.
        per_epoch = tf.gather(tf.constant(self.per_epoch, tf.int64), group)
        first, skipped = start // per_epoch, start % per_epoch
        if self.index is None or not self._is_far(start):
            return self._epochs(group, first, per_epoch).skip(skipped)
        phases = self._phases(first, group)
        reader = WindowReader(self.data_dir, self.manifest, self.index, self.sequence_length)
        borders = tf.constant(self.borders)

        def window(number: tf.Tensor) -> tf.Tensor:
            shard = tf.searchsorted(borders, number[None], side="right")[0] - 1
            within = number - tf.gather(borders, shard)
            start = tf.gather(phases, shard) + within * self.sequence_length
            return reader.read(shard, start)

        numbers = self._epoch(group, first, self._numbers).take(per_epoch).skip(skipped)
        windows = numbers.map(window, max(2, _LOOKED_UP // self.groups), deterministic=True)
        return windows.concatenate(self._epochs(group, first + 1, per_epoch))

    def _is_far(self, start: tf.Tensor | int) -> bool:
        """Returns whether the index is worth it: looking up the rest of the epoch costs less than
        reading what comes before. Of a mix, whose groups differ, the index is not taken."""
        if not isinstance(start, int):
            return False
        count = self.per_epoch[0]
        skipped = start % count
        if skipped * self.sequence_length * self.groups <= READ_AND_DROPPED:
            return False
        return (count - skipped) * LOOKUP_TOKENS < skipped * self.sequence_length

    def _epochs(self, group: tf.Tensor, first: tf.Tensor, per_epoch: tf.Tensor) -> tf.data.Dataset:
        epochs = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
        return epochs.flat_map(lambda epoch: self._epoch(group, epoch, self._read).take(per_epoch))

    def _epoch(
        self, group: tf.Tensor, epoch: tf.Tensor, contents: Callable[..., tf.data.Dataset]
    ) -> tf.data.Dataset:
        """Returns the windows of an epoch, or their numbers, in their shuffled order.

        Args:
            group: number of the group.
            epoch: number of the epoch.
            contents: number of a shard and its phase -> what it gives. The order is the same for
                all that give as many elements.
        """
        # A shuffle of tf.data also depends on the graph's seed, which is the user's
        # `tf.random.set_seed`. This is inside of a function's graph: only that graph's seed is set.
        # (With 0, TensorFlow compares our seed, a tensor, with 0.)
        tf.random.set_seed(1)
        numbers = tf.gather(
            tf.constant(self.shards, tf.int64), tf.range(group, len(self.shards), self.groups)
        )
        # A random number for each shard, of which this group's decide about its order.
        keys = tf.gather(self._random(_ORDER, epoch, group, len(self.files)), numbers)
        numbers = tf.gather(numbers, tf.argsort(keys, stable=True))
        phases = tf.gather(self._phases(epoch, group), numbers)
        shards = tf.data.Dataset.from_tensor_slices((numbers, phases))
        most_shards = -(-len(self.shards) // self.groups)
        windows = shards.interleave(contents, cycle_length=min(_CYCLE, most_shards), block_length=1)
        if self.shuffled == 1:
            return windows
        seed = self._random(_SHUFFLE, epoch, group, self.stream + 1)[self.stream]
        return windows.shuffle(self.shuffled, seed=seed, reshuffle_each_iteration=False)

    def _phases(self, epoch: tf.Tensor, group: tf.Tensor) -> tf.Tensor:
        """Returns for each of all shards how many targets are left out at its beginning."""
        return self._random(_PHASE, epoch, group, len(self.files)) % self.sequence_length

    def _random(self, purpose: int, epoch: tf.Tensor, group: tf.Tensor, count: int) -> tf.Tensor:
        """Returns numbers (count,) from 0 to 2**31 - 1 of the purpose, epoch and group."""
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.constant(purpose, tf.int64)])
        return _random_numbers(seed, epoch, group, count)

    def _read(self, number: tf.Tensor, phase: tf.Tensor) -> tf.data.Dataset:
        """Returns the windows of a shard."""
        dtype = stored_dtype(self.manifest)
        tokens = read_blocks(tf.gather(tf.constant(self.files), number), dtype)
        windows = windows_of(tokens, self.sequence_length, self.manifest.end_id, dtype, phase)
        return windows.take(tf.gather(tf.constant(self.windows, tf.int64), number))

    def _numbers(self, number: tf.Tensor, phase: tf.Tensor) -> tf.data.Dataset:
        """Returns the numbers of the windows of a shard."""
        borders = tf.constant(self.borders)
        return tf.data.Dataset.range(tf.gather(borders, number), tf.gather(borders, number + 1))


# A function of its own: its many operations are put into a graph once, not at each use.
@tf.function(autograph=False)
def _random_numbers(seed: tf.Tensor, epoch: tf.Tensor, group: tf.Tensor, count: int) -> tf.Tensor:
    for data in (epoch, group):
        seed = tf.random.fold_in(seed, data, alg="philox")
    return tf.random.stateless_uniform(
        (count,), seed, 0, np.iinfo(np.int32).max, tf.int64, alg="philox"
    )
