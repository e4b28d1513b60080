"""`Workers`: numbers that all workers exchange."""

import logging

import numpy as np
import tensorflow as tf

import tfscale
from tfscale.distribution.workers import Workers


def test_many_shapes_are_summed_without_a_warning():
    messages = []
    handler = logging.Handler()
    handler.emit = messages.append
    workers = Workers(tfscale.strategy("mirrored"))
    tf.get_logger().addHandler(handler)
    try:
        for width in range(1, 12):
            [total] = workers._sum([tf.range(width, dtype=tf.float64)])
            np.testing.assert_array_equal(total, np.arange(width))
    finally:
        tf.get_logger().removeHandler(handler)
    assert not messages
