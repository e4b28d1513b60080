"""The norm of gradients against NumPy's, in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfscale.training.norms import global_norm


@pytest.mark.parametrize("xla", [False, True])
def test_the_norm_is_that_of_numpy(xla):
    rng = np.random.default_rng(0)
    # A prime length, one number, none at all, rows longer than a sum may be, and magnitudes far apart.
    shapes = [(1009, 3), (521,), (), (4000, 200), (7, 5, 3), (2, 0)]
    gradients = [
        (rng.normal(size=shape) * 10.0**i).astype("float32") for i, shape in enumerate(shapes, -3)
    ]
    exact = np.sqrt(sum(np.square(g.astype("float64")).sum() for g in gradients))
    found = tf.function(global_norm, jit_compile=xla)([tf.constant(g) for g in gradients])
    assert float(found) == pytest.approx(exact, rel=3e-7)


def test_by_hand_and_not_finite():
    assert float(global_norm([tf.constant([3.0, 0.0]), tf.constant([[4.0]])])) == 5.0
    assert np.isinf(global_norm([tf.constant([1.0, np.inf])])) and np.isnan(
        global_norm([tf.constant([np.nan])])
    )
