"""The parts of TF-MOT that tfscale needs are there and do what is said of them."""

import numpy as np
import pytest
import tensorflow as tf

from tfscale.compat.tfmot import ConstantSparsity, Pruning, new_mask

WEIGHT = tf.constant([[1, -4, 2, 9], [8, 5.5, -6, 7], [0, 9, 10, 1], [3, 0, 12, 5]], tf.float32)


@pytest.mark.parametrize(
    ("block_size", "m_by_n", "expected"),
    [
        ((1, 1), None, [[0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 0]]),
        ((2, 2), None, [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]),
        ((1, 1), (1, 2), [[0, 0, 0, 1], [1, 1, 1, 0], [0, 1, 0, 0], [1, 0, 1, 1]]),
    ],
)
def test_new_mask(block_size, m_by_n, expected):
    schedule = ConstantSparsity(0.5, begin_step=0)
    engine = Pruning(lambda: tf.constant(1), [], schedule, block_size, "AVG", m_by_n)
    np.testing.assert_array_equal(new_mask(engine, WEIGHT), expected)
