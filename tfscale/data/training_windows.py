"""The training windows of all groups of rows, in the order of the batches' rows.

Shapes: T sequence length.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfscale.data.epochs import Epochs
from tfscale.data.index import ShardIndex
from tfscale.data.manifest import Manifest
from tfscale.data.mixing import Mixture
from tfscale.data.sharding import RowRange
from tfscale.data.window_plan import WindowPlan

_CHOICES = 1024
"""Windows whose sources are worked out at once."""


class Stream(Protocol):
    """The windows of a source, or of the whole split, for each group of rows."""

    def is_far(self, start: int) -> bool:
        """Returns whether what comes before a window, counted from the first of a group's first
        epoch, is passed over instead of read."""

    def from_window(
        self, group: tf.Tensor, start: tf.Tensor | int, far: bool = False
    ) -> tf.data.Dataset:
        """Returns the windows of a group from one on, without end.

        Args:
            group: number of the group.
            start: the first window to give, counted from the first of the first epoch.
            far: what `is_far` said of it.
        """


@dataclass(frozen=True)
class TrainingWindows:
    """The windows that the batches from a step on are made of.

    Attributes:
        data_dir: the data folder.
        manifest: its manifest.
        index: its index; None where it has none.
        plan: what each group reads.
        sequence_length: T, tokens of a window.
        seed: seed of phases, order of shards, and shuffling.
        start_step: the first batch.
        shuffle_windows: windows in the shuffle buffers of all groups together.
    """

    data_dir: str
    manifest: Manifest
    index: ShardIndex | None
    plan: WindowPlan
    sequence_length: int
    seed: int
    start_step: int
    shuffle_windows: int

    def interleaved(self, ranges: list[RowRange]) -> tf.data.Dataset:
        """Returns windows (T + 1,) without end, or what else the streams give.

        Args:
            ranges: ranges of rows, which follow each other in each batch.
        """
        rows_of_group = self.plan.rows
        triples = tf.constant([(rows.group, rows.first, rows.end) for rows in ranges], tf.int64)
        groups = tf.data.Dataset.from_tensor_slices(triples)
        if all((rows.first, rows.end) == (0, rows_of_group) for rows in ranges):
            return groups.interleave(
                lambda rows: self._group(rows[0]),
                cycle_length=len(ranges),
                block_length=rows_of_group,
            )

        def taken(rows: tf.Tensor) -> tf.data.Dataset:
            batches = self._group(rows[0]).batch(rows_of_group, drop_remainder=True)

            def cut(*parts: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, ...]:
                mine = tuple(part[rows[1] : rows[2]] for part in parts)
                return mine if len(mine) > 1 else mine[0]

            return batches.map(cut)

        return groups.interleave(taken, cycle_length=len(ranges), block_length=1).unbatch()

    def _group(self, group: tf.Tensor) -> tf.data.Dataset:
        """Returns the windows of a group from the first batch on."""
        start = self.start_step * self.plan.rows
        mixture = self.plan.mixture
        if mixture is None:
            stream = self._stream(0, self.shuffle_windows)
            return stream.from_window(group, start, stream.is_far(start))
        starts = mixture.counts(tf.constant(start, tf.int64), group, self.plan.groups)
        streams = []
        for number, (share, first) in enumerate(zip(mixture.shares, starts, strict=True)):
            stream = self._stream(number, int(self.shuffle_windows * share))
            far = stream.is_far(int(start * share))
            streams.append(stream.from_window(group, first if start else 0, far))
        if len(streams) == 1:
            return streams[0]
        return tf.data.Dataset.choose_from_datasets(
            streams, self._choices(mixture, group, start), stop_on_empty_dataset=False
        )

    def _choices(self, mixture: Mixture, group: tf.Tensor, start: int) -> tf.data.Dataset:
        """Returns the source of each window of a group."""
        firsts = tf.data.Dataset.range(start, np.iinfo(np.int64).max, _CHOICES)
        some = tf.range(_CHOICES, dtype=tf.int64)
        return firsts.map(
            lambda first: mixture.source_of(first + some, group, self.plan.groups)
        ).unbatch()

    def _stream(self, number: int, shuffled: int) -> Stream:
        """Returns a source, or the whole split, with so many windows in all shuffle buffers."""
        plan = self.plan
        return Epochs(
            self.data_dir,
            self.manifest,
            self.index,
            plan.streams[number],
            plan.groups,
            plan.per_epoch[number],
            self.sequence_length,
            self.seed,
            max(1, shuffled // plan.groups),
            number,
        )
