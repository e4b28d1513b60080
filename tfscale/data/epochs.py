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
more than these are passed over by the index."""

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

    def is_far(self, start: int) -> bool:
        """Returns whether so much comes before a window in its epoch that the index is worth it.

        Args:
            start: the window, counted from the first of the first epoch of a group.
        """
        before = start % self.per_epoch[0] * self.groups * self.sequence_length
        return before > READ_AND_DROPPED

    def from_window(
        self, group: tf.Tensor, start: tf.Tensor | int, far: bool = False
    ) -> tf.data.Dataset:
        """Returns the windows (T + 1,) of a group without end, in their stored type.

        Args:
            group: number of the group.
            start: the first window to give, counted from the first of the first epoch.
            far: whether what comes before it in its epoch is passed over by the index, if there is
                one, and not read and dropped.
        """
        # The epochs differ by their number alone, so the earlier ones need not be read.
        per_epoch = tf.gather(tf.constant(self.per_epoch, tf.int64), group)
        first, skipped = start // per_epoch, start % per_epoch
        if self.index is None or not far:
            return self._epochs(group, first, per_epoch).skip(skipped)
        rest = self._rest(self.index, group, first, per_epoch, skipped)
        return rest.concatenate(self._epochs(group, first + 1, per_epoch))

    def _rest(
        self,
        index: ShardIndex,
        group: tf.Tensor,
        epoch: tf.Tensor,
        per_epoch: tf.Tensor,
        skipped: tf.Tensor,
    ) -> tf.data.Dataset:
        """Returns the windows of an epoch from one on.

        What went through the shuffle buffer before it, or may still lie there, is a number and no
        window: a number that comes out after it is looked up in the index. Of each shard what comes
        later is read from there on. The order is that of the whole epoch, because the buffer takes
        in as many elements.
        """
        reader = WindowReader(self.data_dir, self.manifest, index, self.sequence_length)
        phases, borders = self._phases(epoch, group), tf.constant(self.borders)
        nothing = tf.zeros([0], stored_dtype(self.manifest))

        def place(shard: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
            within = number - tf.gather(borders, shard)
            return tf.gather(phases, shard) + within * self.sequence_length

        def contents(shard: tf.Tensor, _: tf.Tensor, passed: tf.Tensor) -> tf.data.Dataset:
            first, end = tf.gather(borders, shard), tf.gather(borders, shard + 1)
            early = tf.data.Dataset.range(first, first + passed)
            late = tf.data.Dataset.range(first + passed, end)
            windows = reader.windows_from(shard, place(shard, first + passed))
            return early.map(lambda number: (number, nothing)).concatenate(
                tf.data.Dataset.zip(late, windows)
            )

        def window(number: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
            def looked_up() -> tf.Tensor:
                shard = tf.searchsorted(borders, number[None], side="right")[0] - 1
                return reader.read(shard, place(shard, number))

            found = tf.cond(tf.size(tokens) == 0, looked_up, lambda: tokens)
            return tf.ensure_shape(found, (self.sequence_length + 1,))

        buffered = self.shuffled if self.shuffled > 1 else 0
        numbered = self._epoch(group, epoch, contents, skipped + buffered)
        at_a_time = max(2, _LOOKED_UP // self.groups)
        return numbered.take(per_epoch).skip(skipped).map(window, at_a_time, deterministic=True)

    def _epochs(self, group: tf.Tensor, first: tf.Tensor, per_epoch: tf.Tensor) -> tf.data.Dataset:
        epochs = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
        return epochs.flat_map(lambda epoch: self._epoch(group, epoch, self._read).take(per_epoch))

    def _epoch(
        self,
        group: tf.Tensor,
        epoch: tf.Tensor,
        contents: Callable[..., tf.data.Dataset],
        before: tf.Tensor | int = 0,
    ) -> tf.data.Dataset:
        """Returns the windows of an epoch in their shuffled order.

        Args:
            group: number of the group.
            epoch: number of the epoch.
            contents: number of a shard, its phase, and about how many of the windows `before` are
                its own -> what it gives. The order is the same for all that give as many elements.
            before: windows of the epoch before they are shuffled.
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
        most_shards = -(-len(self.shards) // self.groups)
        cycle = min(_CYCLE, most_shards)
        passed = _passed(tf.gather(tf.constant(self.windows, tf.int64), numbers), cycle, before)
        shards = tf.data.Dataset.from_tensor_slices((numbers, phases, passed))
        windows = shards.interleave(contents, cycle_length=cycle, block_length=1)
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

    def _read(self, number: tf.Tensor, phase: tf.Tensor, _: tf.Tensor) -> tf.data.Dataset:
        """Returns the windows of a shard."""
        dtype = stored_dtype(self.manifest)
        tokens = read_blocks(tf.gather(tf.constant(self.files), number), dtype)
        before = tf.constant([self.manifest.end_id], dtype)
        windows = windows_of(tokens, self.sequence_length, before, phase)
        return windows.take(tf.gather(tf.constant(self.windows, tf.int64), number))


def _passed(windows: tf.Tensor, cycle: int, before: tf.Tensor | int) -> tf.Tensor:
    """Returns about how many of the first windows of an epoch belong to each of its shards (n,).

    Shards are read in turn, `cycle` of them at a time. Here all of them end together; where one
    ends earlier and the next begins, the numbers are off by some.
    """
    rounds = tf.range(tf.size(windows)) // cycle
    of_round = tf.math.segment_sum(windows, rounds)
    open_shards = tf.math.segment_sum(tf.ones_like(windows), rounds)
    left = tf.cast(before, tf.int64) - tf.cumsum(of_round, exclusive=True)
    each = -(-left // open_shards)
    return tf.clip_by_value(tf.gather(each, rounds), 0, windows)


# A function of its own: its many operations are put into a graph once, not at each use.
@tf.function(autograph=False)
def _random_numbers(seed: tf.Tensor, epoch: tf.Tensor, group: tf.Tensor, count: int) -> tf.Tensor:
    for data in (epoch, group):
        seed = tf.random.fold_in(seed, data, alg="philox")
    return tf.random.stateless_uniform(
        (count,), seed, 0, np.iinfo(np.int32).max, tf.int64, alg="philox"
    )
