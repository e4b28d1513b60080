"""Assignments that are made or left out by a condition."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfscale.training.chosen_updates import written_if


def in_xla(write, variables, wanted, at_once=True):
    """Runs `write` as a choice within one program of XLA; returns the variables' values."""

    @tf.function(jit_compile=True, autograph=False)
    def program(wanted):
        with written_if(wanted, variables, at_once):
            write()

    program(tf.constant(wanted))
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("at_once", (True, False))
def test_what_is_not_wanted_is_not_written(at_once):
    # -0.0 shows a sum with 0, which gives 0.0.
    first, second = tf.Variable([-0.0, 2.0]), tf.Variable(3, dtype=tf.int64)

    def write():
        first.assign_add([1.0, np.nan])
        first.assign_sub(first)
        second.assign(7)

    for value in in_xla(write, [first, second], False, at_once):
        assert value.tolist() in ([-0.0, 2.0], 3)
    assert np.signbit(first.numpy()[0])
    values = in_xla(write, [first, second], True, at_once)
    np.testing.assert_array_equal(values[0], [0.0, np.nan])
    assert values[1] == 7


def test_later_assignments_see_earlier_ones():
    moment, weight = tf.Variable(1.0), tf.Variable(10.0)

    def write():
        moment.assign(moment * 0.5)
        weight.assign_sub(moment)
        weight.assign_sub(moment)

    assert in_xla(write, [moment, weight], True) == [0.5, 9.0]
    assert in_xla(write, [moment, weight], False) == [0.5, 9.0]


def test_rows_that_are_written_alone_are_chosen_in_the_end():
    table = tf.Variable(np.arange(6, dtype="float32").reshape(3, 2))
    before = table.numpy()

    def write():
        table.assign(table + 1)
        table.scatter_sub(tf.IndexedSlices(tf.constant([[5.0, 5.0]]), tf.constant([1])))

    np.testing.assert_array_equal(in_xla(write, [table], False)[0], before)
    np.testing.assert_array_equal(in_xla(write, [table], True)[0], [[1, 2], [-2, -1], [5, 6]])


def test_the_variables_are_themselves_again_even_after_an_error():
    weight = tf.Variable(1.0)
    with pytest.raises(ZeroDivisionError), written_if(tf.constant(False), [weight]):
        weight.assign(1 / 0)
    weight.assign(5.0)
    assert weight.numpy() == 5.0
    assert "assign" not in vars(weight)


@pytest.mark.parametrize(
    "optimizer",
    (
        lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5),
        lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        lambda: keras.optimizers.Adafactor(0.1),
    ),
    ids=("adamw", "sgd", "adafactor"),
)
def test_an_optimizer_is_itself_or_does_nothing(optimizer):
    start, gradient = (
        np.array([[1.0, -2.0], [3.0, 0.5]], "float32"),
        tf.constant([[1.0, 2], [3, 4]]),
    )
    plain, ours = keras.Variable(start), keras.Variable(start)
    expected, chosen = optimizer(), optimizer()
    expected.build([plain])
    chosen.build([ours])
    written = [variable.value for variable in (ours, *chosen.variables)]

    def write():
        chosen.apply([gradient], [ours])

    def compare():
        # Two programs of XLA may contract products and sums differently.
        for variable, other in zip(chosen.variables, expected.variables, strict=True):
            np.testing.assert_allclose(variable.numpy(), other.numpy(), rtol=1e-6)
        np.testing.assert_allclose(ours.numpy(), plain.numpy(), rtol=1e-6)

    for wanted in (True, False, True, True, False):
        in_xla(write, written, wanted)
        if wanted:
            expected.apply([gradient], [plain])
        compare()


def test_a_value_of_another_shape_is_refused_as_before():
    weight = tf.Variable([1.0, 2.0])
    with pytest.raises(ValueError, match="incompatible"):
        in_xla(lambda: weight.assign(tf.constant([5.0])), [weight], True)
