"""Arrays that become the value of a variable without a copy."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.resident import resident
from tfscale.compat.handed_over import hand_over, to_hand_over, zeros

NUMBERS = np.arange(42, dtype=np.float32).reshape(6, 7)


def variable(dtype="float32"):
    return keras.Variable(np.zeros((6, 7)), dtype=dtype)


def filled(dtype="float32"):
    values = to_hand_over((6, 7), np.dtype(dtype))
    values[...] = NUMBERS
    return values


def test_the_memory_is_the_array_itself():
    weight, values = variable(), filled()
    hand_over(weight, values)
    np.testing.assert_array_equal(weight.numpy(), NUMBERS)
    values[0, 0] = 100
    assert weight.numpy()[0, 0] == 100


def test_a_change_of_the_variable_does_not_change_the_array():
    weight, values = variable(), filled()
    hand_over(weight, values)
    other = variable()
    hand_over(other, values)
    weight.value.assign_add(tf.ones((6, 7)))
    layer = keras.layers.Dense(7, use_bias=False)
    layer.build((None, 6))
    hand_over(layer.kernel, values)
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.apply([tf.ones((6, 7))], [layer.kernel])
    np.testing.assert_array_equal(weight.numpy(), NUMBERS + 1)
    np.testing.assert_array_equal(layer.kernel.numpy(), NUMBERS - 0.5)
    for same in (values, other.numpy()):
        np.testing.assert_array_equal(same, NUMBERS)


def test_the_memory_outlives_the_name():
    weight = variable()
    hand_over(weight, filled())
    # They would lie where the array was.
    others = [filled() + 1 for _ in range(1000)]
    np.testing.assert_array_equal(weight.numpy(), others[0] - 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: NUMBERS.copy(),
        lambda: filled("float64"),
        lambda: np.asfortranarray(filled()),
        lambda: filled()[::-1][::-1],
        lambda: np.concatenate([np.zeros((1, 7), np.float32), filled()])[1:].view(type(filled())),
        lambda: tf.constant(NUMBERS),
    ],
)
def test_any_other_value_is_copied(make):
    weight, values = variable(), make()
    hand_over(weight, values)
    np.testing.assert_array_equal(weight.numpy(), NUMBERS)
    rounded = variable("bfloat16")
    hand_over(rounded, values)
    np.testing.assert_array_equal(rounded.numpy().astype("float32"), NUMBERS)


def test_a_mirrored_variable_is_assigned():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        weight = variable()
    hand_over(weight, filled())
    np.testing.assert_array_equal(weight.numpy(), NUMBERS)


def test_a_single_number():
    number = keras.Variable(2.0)
    value = to_hand_over((), np.dtype("float32"))
    value[...] = 3
    hand_over(number, value)
    assert number.numpy() == 3


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_zeros(dtype):
    weight = keras.Variable(lambda shape, dtype: zeros(shape, dtype), shape=(6, 7), dtype=dtype)
    assert weight.dtype == dtype and not weight.numpy().any()
    weight.assign(NUMBERS)
    np.testing.assert_array_equal(weight.numpy().astype("float32"), NUMBERS)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the memory from /proc")
def test_zeros_take_no_memory():
    before = resident()
    kept = tf.Variable(zeros((1000, 100_000), "float32"))
    assert resident() - before < 40e6 and kept.shape == (1000, 100_000)
