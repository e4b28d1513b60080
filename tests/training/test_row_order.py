"""The order of arrays' rows: that of one shuffle over all passes, from wherever a training goes on."""

import numpy as np
import pytest
import tensorflow as tf

from tfscale.training.row_order import batches_read, row_batches

IDS = np.arange(14).reshape(7, 2)


def first_rows(batches, count):
    return [ids[:, 0].tolist() for ids, _, _ in batches.take(count).as_numpy_iterator()]


def one_shuffle(count):
    """Batches of 3 of TensorFlow's shuffle as they come, but for a first pass."""
    dataset = tf.data.Dataset.from_tensor_slices(IDS[:, 0]).shuffle(7, seed=5).batch(3).repeat().skip(3)
    rows = [batch.tolist() for batch in dataset.take(count).as_numpy_iterator()]
    return [batch + [0] * (3 - len(batch)) for batch in rows]


@pytest.mark.parametrize("skip", [0, 1, 3, 7])
def test_batches_go_on_in_the_order_of_one_shuffle(skip):
    batches = row_batches((IDS, IDS), 3, seed=5, skip=skip)
    assert first_rows(batches.repeat(), 5) == one_shuffle(skip + 5)[skip:]


def test_without_a_seed_rows_keep_their_order():
    assert first_rows(row_batches((IDS, IDS), 3, None), 9) == [[0, 2, 4], [6, 8, 10], [12, 0, 0]]
    assert first_rows(row_batches((IDS, IDS), 3, None, skip=4), 3) == [[6, 8, 10], [12, 0, 0], [0, 2, 4]]


@pytest.mark.parametrize("weights,expected", [(None, [1, 1]), (np.arange(7), [6, 6]), (IDS / 2, [6, 6.5])])
def test_the_last_batch_is_padded_with_weight_zero(weights, expected):
    parts = (IDS, IDS + 1) if weights is None else (IDS, IDS + 1, weights)
    *_, last = row_batches(parts, 3, None).as_numpy_iterator()
    assert [part.tolist() for part in last] == [[[12, 13], [0, 0], [0, 0]], [[13, 14], [0, 0], [0, 0]],
                                                [expected, [0, 0], [0, 0]]]  # fmt: skip
    assert [part.dtype for part in last] == ["int32", "int32", "float32"]


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
