"""The packed rows of a stream, epoch after epoch.

Each epoch of a group of rows is a sequence of blocks. A block is some pools, in an order drawn for
the epoch, whose rows are shuffled together. Every draw is named by what it is for, so that a run
that goes on reads the block of its next row and none before it.

Rows are planned and filled by NumPy, which `tf.data` calls in this process.

Shapes: T places of a row, R rows of a block.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

from tfscale.data.packing.fitting import best_fit_decreasing
from tfscale.data.packing.plan import PackedPlan, PackedStream
from tfscale.data.packing.ranges import TokenRanges
from tfscale.data.windows import stored_dtype

_ORDER, _PIECES, _ROWS = range(3)
"""Purposes of random numbers: the order of pools, of pieces of one length, and of rows."""


@dataclass(frozen=True)
class PackedRows:
    """The rows of each group, without end. The group is a tensor: all share one graph.

    Attributes:
        ranges: reads the tokens of the stream.
        plan: what each group reads.
        number: which of the plan's streams this is.
        seed: seed of all draws.
        shuffled: rows of a group that are held at most, in two blocks, where a pool has fewer; 1
            keeps the order of the text: that of the first document of each row.
    """

    ranges: TokenRanges
    plan: PackedPlan
    number: int
    seed: int
    shuffled: int

    @cached_property
    def _stream(self) -> PackedStream:
        return self.plan.streams[self.number]

    def is_far(self, start: int) -> bool:
        """Returns whether a row is passed over to, which all are."""
        return True

    def from_window(
        self, group: tf.Tensor, start: tf.Tensor | int, far: bool = True
    ) -> tf.data.Dataset:
        """Returns the rows of a group without end: inputs and targets (2, T) in their stored type,
        and how many of the places, from the first on, are tokens, () int32.

        Args:
            group: number of the group.
            start: the first row to give, counted from the first of the first epoch.
            far: has no effect; see `is_far`.
        """
        dtype, length = stored_dtype(self.ranges.manifest), self.plan.sequence_length

        def place(start: tf.Tensor) -> tuple[tf.Tensor, ...]:
            found = tf.numpy_function(self._place, [group, start], [tf.int64, tf.int64])
            return tuple(tf.ensure_shape(number, ()) for number in found)

        def read(block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows, filled = tf.numpy_function(self.block, [group, block], [dtype, tf.int32])
            return tf.ensure_shape(rows, (None, 2, length)), tf.ensure_shape(filled, (None,))

        def from_block(first: tf.Tensor, skipped: tf.Tensor) -> tf.data.Dataset:
            blocks = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
            # The next block is read while one is given out.
            held = blocks.map(read, num_parallel_calls=1, deterministic=True)
            return held.flat_map(lambda *rows: tf.data.Dataset.from_tensor_slices(rows)).skip(
                skipped
            )

        # Within a map, which runs with the first element: TensorFlow crashes where Python is called
        # while an iterator is made.
        start = tf.cast(start, tf.int64)
        return tf.data.Dataset.from_tensors(start).map(place).flat_map(from_block)

    def _place(self, group: np.ndarray, start: np.ndarray) -> tuple[np.int64, np.int64]:
        """Returns the block of a row, counted from the first epoch, and the rows before it in
        there."""
        number = int(group)
        epoch, row = divmod(int(start), self.plan.windows.per_epoch[self.number][number])
        rows = self._stream.groups[number].rows
        blocks = self._blocks(number, epoch)
        # After the last of them are the empty rows at the end of an epoch.
        ends = np.cumsum([0, *(int(rows[pools].sum()) for pools in blocks)])
        at = int(np.searchsorted(ends, row, side="right")) - 1
        return np.int64(epoch * self._blocks_per_epoch(number) + at), np.int64(row - ends[at])

    def _blocks(self, group: int, epoch: int) -> list[np.ndarray]:
        """Returns the pools of each block of an epoch."""
        rows = self._stream.groups[group].rows
        order = np.arange(len(rows))
        if self.shuffled > 1:
            order = np.argsort(self._draws(_ORDER, epoch, group, len(rows)), kind="stable")
        each = self._pools_per_block(group)
        return [order[start : start + each] for start in range(0, len(order), each)]

    def _pools_per_block(self, group: int) -> int:
        rows = self._stream.groups[group].rows
        return max(1, self.shuffled // 2 // max(1, int(rows.max(initial=1))))

    def _empty_rows(self, group: int) -> int:
        rows = self.plan.windows.per_epoch[self.number][group]
        return rows - int(self._stream.groups[group].rows.sum())

    def _blocks_per_epoch(self, group: int) -> int:
        """Returns how many blocks an epoch has, with the one of empty rows at its end."""
        blocks = -(-len(self._stream.groups[group].rows) // self._pools_per_block(group))
        return blocks + (self._empty_rows(group) > 0)

    def block(self, group: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows (R, 2, T) of a block, and how many places of each are tokens (R,).

        Args:
            group: number of the group.
            number: of the block, counted from the first epoch.
        """
        epoch, at = divmod(int(number), self._blocks_per_epoch(int(group)))
        blocks = self._blocks(int(group), epoch)
        pools = self._stream.groups[int(group)]
        chosen = blocks[at] if at < len(blocks) else np.empty(0, np.int64)
        count = int(pools.rows[chosen].sum()) if len(chosen) else self._empty_rows(int(group))
        shape = (count, 2, self.plan.sequence_length)
        manifest = self.ranges.manifest
        rows = np.full(shape, manifest.end_id, stored_dtype(manifest).as_numpy_dtype)
        filled = np.zeros(count, np.int32)
        places = np.arange(count)
        if self.shuffled > 1:
            draws = self._draws(_ROWS, epoch, int(group), count, at)
            places = np.argsort(draws, kind="stable")
        for pool in chosen.tolist():
            size = int(pools.rows[pool])
            self._fill(rows, filled, places[:size], epoch, int(group), pool)
            places = places[size:]
        return rows, filled

    def _fill(
        self,
        rows: np.ndarray,
        filled: np.ndarray,
        places: np.ndarray,
        epoch: int,
        group: int,
        pool: int,
    ) -> None:
        """Writes the pieces of a pool into the rows of a block at `places`."""
        pools, length = self._stream.groups[group], self.plan.sequence_length
        pieces = slice(int(pools.borders[pool]), int(pools.borders[pool + 1]))
        lengths = self._stream.lengths[pieces].astype(np.int64)
        first, end = int(pools.first_token[pool]), int(pools.first_token[pool + 1])
        # The token before the first piece: before a stream that is an end token.
        tokens = self.ranges.read(max(first - 1, 0), end)
        if first == 0:
            tokens = np.concatenate([np.array([self.ranges.manifest.end_id], tokens.dtype), tokens])
        keys = None
        if self.shuffled > 1:
            keys = self._draws(_PIECES, epoch, group, len(lengths), pool)
        packing = best_fit_decreasing(lengths, length, keys)
        number = packing.row
        if keys is None:
            number = _in_order_of_text(number)
        row = places[number]
        begins = np.cumsum(lengths) - lengths
        where = np.repeat(row * (2 * length) + packing.offset - begins, lengths)
        where += np.arange(len(where))
        flat = rows.reshape(-1)
        flat[where] = tokens[:-1]
        flat[where + length] = tokens[1:]
        np.add.at(filled, row, lengths.astype(np.int32))

    def _draws(self, purpose: int, epoch: int, group: int, count: int, part: int = 0) -> np.ndarray:
        """Returns numbers (count,) uint64 for a purpose, an epoch, and a group or a part of it."""
        # Philox counts on from its counter, whose lowest word is left to it. Its raw numbers are
        # the same in every version of NumPy.
        key = np.array([self.seed, self.number * 3 + purpose], np.uint64)
        counter = np.array([0, part, group, epoch], np.uint64)
        return np.random.Philox(key=key, counter=counter).random_raw(count)


def _in_order_of_text(number: np.ndarray) -> np.ndarray:
    """Returns other numbers of the rows: in the order of the first piece of each.

    Args:
        number: (N,) the row of each piece, in the order of the text.
    """
    _, firsts = np.unique(number, return_index=True)
    return np.argsort(np.argsort(firsts, kind="stable"), kind="stable")[number]
