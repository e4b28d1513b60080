"""The order of arrays' rows: that of one shuffle over all passes, from wherever a training goes on."""

import numpy as np
import pytest
import tensorflow as tf

from tfscale.training.fit.row_order import batches_read, row_batches

IDS = np.arange(14).reshape(7, 2)


def first_rows(batches, count):
    return [ids[:, 0].tolist() for ids, _ in batches.take(count).as_numpy_iterator()]


def one_shuffle(count):
    """Batches of 3 of TensorFlow's shuffle as they come, but for a first pass."""
    dataset = (
        tf.data.Dataset.from_tensor_slices(IDS[:, 0]).shuffle(7, seed=5).batch(3).repeat().skip(3)
    )
    return [batch.tolist() for batch in dataset.take(count).as_numpy_iterator()]


@pytest.mark.parametrize("skip", [0, 1, 3, 7])
def test_batches_go_on_in_the_order_of_one_shuffle(skip):
    batches = row_batches((IDS, IDS), 3, seed=5, skip=skip)
    assert first_rows(batches.repeat(), 5) == one_shuffle(skip + 5)[skip:]


def test_without_a_seed_rows_keep_their_order():
    assert first_rows(row_batches((IDS, IDS), 3, None), 9) == [[0, 2, 4], [6, 8, 10], [12]]
    assert first_rows(row_batches((IDS, IDS), 3, None, skip=4), 3) == [[6, 8, 10], [12], [0, 2, 4]]


def test_the_parts_of_a_row_stay_together():
    for ids, targets, weights in row_batches(
        (IDS, IDS + 1, IDS[:, 0] / 2), 3, seed=5
    ).as_numpy_iterator():
        assert (targets == ids + 1).all() and (weights == ids[:, 0] / 2).all()


@pytest.mark.parametrize(
    "steps,into_epoch,whole_passes,expected",
    [
        (0, 0, True, 0),
        (10, 0, True, 10),
        (12, 2, True, 12),  # two batches into the third pass of five
        (7, 0, True, 10),  # of other data, say: a new pass all the same
        (7, 0, False, 7),
        (7, 2, False, 7),
    ],
)
def test_what_was_read(steps, into_epoch, whole_passes, expected):
    assert batches_read(steps, into_epoch, 5, whole_passes) == expected
