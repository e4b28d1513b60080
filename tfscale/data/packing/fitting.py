"""Best-fit decreasing: items of given lengths into rows of a given length (Johnson et al. 1974).

Items are taken from the longest to the shortest. Each goes into the row with the least free space
that still has enough, or into a new row. Items of one length are placed together: a row that takes
one of them becomes the fullest of those that fit, and so takes the next one too, as long as there
is space. So the work grows with the number of different lengths, not of items, apart from sorting.

Which of the items of one length goes where is left to the caller, who may draw lots; the number of
rows does not depend on it.

Shapes: N items.
"""

import bisect
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Packing(NamedTuple):
    """Where each item is.

    Attributes:
        row: (N,) int64, the row of each item.
        offset: (N,) int64, its first place in the row.
        rows: how many rows there are.
    """

    row: np.ndarray
    offset: np.ndarray
    rows: int


class _Placement(NamedTuple):
    """Items of one length that go into rows with one size of free space.

    Attributes:
        length: of each item.
        free: free places of each of the rows before.
        new: whether these rows are new.
        rows: how many rows.
        each: items that a row takes; the last one may get fewer.
        items: how many items.
    """

    length: int
    free: int
    new: bool
    rows: int
    each: int
    items: int

    @property
    def left(self) -> list[tuple[int, int]]:
        """Pairs of free places afterwards, and how many of the rows, in order, have them."""
        whole, rest = divmod(self.items, self.each)
        pairs = [(self.free - self.each * self.length, whole)]
        return [*pairs, (self.free - rest * self.length, 1)] if rest else pairs


def rows_needed(lengths: np.ndarray, row_length: int) -> int:
    """Returns how many rows best-fit decreasing fills; no item is longer than a row.

    Example:
        rows_needed(np.array([3, 2, 2, 1]), 4)    # 2
    """
    return sum(part.rows for part in _placements(lengths, row_length) if part.new)


def best_fit_decreasing(
    lengths: np.ndarray, row_length: int, keys: np.ndarray | None = None
) -> Packing:
    """Places items into rows.

    Args:
        lengths: (N,) of the items, from 1 to `row_length`.
        row_length: places of a row.
        keys: (N,) in whose order items of one length are placed; None keeps their own.

    Example:
        best_fit_decreasing(np.array([3, 2, 2, 1]), 4)
        # row [0, 1, 1, 0], offset [0, 0, 2, 3], rows 2
    """
    order = np.argsort(-lengths, kind="stable") if keys is None else np.lexsort((keys, -lengths))
    row, offset = np.empty(len(lengths), np.int64), np.empty(len(lengths), np.int64)
    waiting: defaultdict[int, deque[np.ndarray]] = defaultdict(deque)
    rows = done = 0
    for part in _placements(lengths, row_length):
        if part.new:
            taken = np.arange(rows, rows + part.rows)
            rows += part.rows
        else:
            taken = _take(waiting[part.free], part.rows)
        items = order[done : done + part.items]
        done += part.items
        number = np.arange(part.items)
        row[items] = taken[number // part.each]
        offset[items] = row_length - part.free + number % part.each * part.length
        at = 0
        for free, count in part.left:
            if free and count:
                waiting[free].append(taken[at : at + count])
            at += count
    return Packing(row, offset, rows)


def _placements(lengths: np.ndarray, row_length: int) -> Iterator[_Placement]:
    """Yields what is placed, from the longest items to the shortest."""
    rows_with: defaultdict[int, int] = defaultdict(int)
    sizes: list[int] = []
    """The keys of `rows_with`, sorted."""
    counts = np.bincount(lengths, minlength=1)
    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            at = bisect.bisect_left(sizes, length)
            new = at == len(sizes)
            free = row_length if new else sizes[at]
            each = free // length
            rows = -(-left // each)
            if not new:
                rows = min(rows, rows_with[free])
                rows_with[free] -= rows
                if not rows_with[free]:
                    del rows_with[free], sizes[at]
            part = _Placement(length, free, new, rows, each, min(left, rows * each))
            for size, count in part.left:
                if size and count:
                    if size not in rows_with:
                        bisect.insort(sizes, size)
                    rows_with[size] += count
            left -= part.items
            yield part


def _take(waiting: deque[np.ndarray], count: int) -> np.ndarray:
    """Takes the first `count` rows out of a queue of groups of them."""
    taken = []
    while count:
        first = waiting.popleft()
        if len(first) > count:
            waiting.appendleft(first[count:])
            first = first[:count]
        taken.append(first)
        count -= len(first)
    return taken[0] if len(taken) == 1 else np.concatenate(taken)
