"""Best-fit decreasing beside one that places item by item, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfscale.data.packing.fitting import best_fit_decreasing, rows_needed


def item_by_item(lengths, row_length):
    """The free places of each row after best-fit decreasing, one item at a time."""
    free = []
    for length in sorted(lengths, reverse=True):
        fitting = [space for space in free if space >= length]
        if fitting:
            free.remove(min(fitting))
        free.append((min(fitting) if fitting else row_length) - length)
    return sorted(free)


@pytest.mark.parametrize(
    ("lengths", "row_length", "row", "offset"),
    [
        ([3, 2, 2, 1], 4, [0, 1, 1, 0], [0, 0, 2, 3]),
        # 6 leaves 4, in which the 4 fits best; 5 leaves 5, for 3, 1 and 1.
        ([1, 5, 6, 4, 3, 1], 10, [1, 1, 0, 0, 1, 1], [8, 0, 0, 6, 5, 9]),
        ([4, 4], 4, [0, 1], [0, 0]),
        ([1, 1, 1, 1, 1], 2, [0, 0, 1, 1, 2], [0, 1, 0, 1, 0]),
        ([], 4, [], []),
    ],
)
def test_by_hand(lengths, row_length, row, offset):
    found = best_fit_decreasing(np.array(lengths, np.int64), row_length)
    assert found.row.tolist() == row
    assert found.offset.tolist() == offset
    assert found.rows == rows_needed(np.array(lengths, np.int64), row_length)


def test_keys_decide_among_items_of_one_length():
    lengths = np.array([2, 2, 2, 1])
    assert best_fit_decreasing(lengths, 4, np.array([3, 1, 2, 0])).row.tolist() == [1, 0, 0, 1]


@given(st.data(), st.integers(1, 40))
def test_as_item_by_item(data, row_length):
    lengths = np.array(data.draw(st.lists(st.integers(1, row_length), max_size=60)), np.int64)
    keys = np.array(data.draw(st.permutations(range(len(lengths)))), np.int64)
    found = best_fit_decreasing(lengths, row_length, keys)
    taken = np.zeros((found.rows, row_length), int)
    for row, offset, length in zip(found.row, found.offset, lengths, strict=True):
        taken[row, offset : offset + length] += 1
    assert taken.max(initial=0) <= 1
    filled = taken.sum(axis=1)
    # Nothing is free before the last item of a row.
    assert (taken == (np.arange(row_length) < filled[:, None])).all()
    assert sorted((row_length - filled).tolist()) == item_by_item(lengths.tolist(), row_length)
    assert rows_needed(lengths, row_length) == found.rows
