"""The norm of gradients against NumPy's, in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfscale.training.norms import all_finite, global_norm


@pytest.mark.parametrize("xla", [False, True])
def test_the_norm_is_that_of_numpy(xla):
    rng = np.random.default_rng(0)
    # A prime length, one number, none at all, rows longer than a sum may be, and magnitudes far apart.
    shapes = [(1009, 3), (521,), (), (4000, 200), (7, 5, 3), (2, 0)]
    gradients = [
        (rng.normal(size=shape) * 10.0**i).astype("float32") for i, shape in enumerate(shapes, -3)
    ]
    exact = np.sqrt(sum(np.square(g.astype("float64")).sum() for g in gradients))
    tensors = [tf.constant(g) for g in gradients]
    found = tf.function(global_norm, jit_compile=xla)(tensors, xla)
    assert float(found) == pytest.approx(exact, rel=3e-7)


def test_by_hand_and_not_finite():
    assert float(global_norm([tf.constant([3.0, 0.0]), tf.constant([[4.0]])])) == 5.0
    assert np.isinf(global_norm([tf.constant([1.0, np.inf])])) and np.isnan(
        global_norm([tf.constant([np.nan])])
    )


@pytest.mark.parametrize("xla", [False, True])
def test_one_number_that_is_not_finite_is_found(xla):
    found = tf.function(all_finite, jit_compile=xla)
    # The sum of squares of large numbers overflows; the numbers themselves are finite.
    gradients = [np.full((3, 2), 1e30, "float32"), np.float32(0), np.zeros((0, 2), "float32")]
    assert found([tf.constant(g) for g in gradients], xla)
    for bad in ((np.inf, 0), (-np.inf, 0), (np.inf, -np.inf), (np.nan, 0)):
        gradients[0][2] = bad
        assert not found([tf.constant(g) for g in gradients], xla)
