"""What layers draw at random: no two of a step's parts, calls and steps get the same masks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tfscale.training.step_state import LAP

ROWS, UNITS = 8, 16


class Twice(keras.layers.Layer):
    """One dropout layer, called for each half of the units."""

    def __init__(self):
        super().__init__()
        self.dropout = keras.layers.Dropout(0.5)

    def call(self, inputs, training=None):
        halves = keras.ops.split(inputs, 2, axis=-1)
        dropped = [self.dropout(half, training=training) for half in halves]
        return keras.ops.concatenate(dropped, axis=-1)


def masks(replicas, micro_batches, first_step=0, steps=4):
    """Returns the masks of training steps: (steps, parts, calls) as texts of 0 and 2.

    Each row of a batch of one-hot vectors has a row of the kernel for itself, whose gradient is its
    mask.
    """
    names = ["CPU:0", "CPU:1"][:replicas]
    with tf.distribute.MirroredStrategy(names).scope():
        network = keras.Sequential(
            [
                keras.Input((ROWS,)),
                keras.layers.Dense(UNITS, use_bias=False, kernel_initializer="ones"),
                Twice(),
            ]
        )
        model = tfscale.Model(network)
        model.compile(
            keras.optimizers.SGD(1.0),
            loss=lambda y, outputs: -keras.ops.sum(outputs, -1),
            micro_batches=micro_batches,
        )
    model.train_step_runner.step.assign(first_step)
    found, before = [], network.get_weights()[0]
    for _ in range(steps):
        model.train_on_batch(np.eye(ROWS, dtype="float32"), np.zeros((ROWS, 1)))
        after = network.get_weights()[0]
        mask = np.round((after - before) * ROWS).astype(int)
        before = after
        assert set(mask.ravel()) == {0, 2}
        for part in np.split(mask, replicas * micro_batches):
            found += [str(half.tolist()) for half in np.split(part, 2, axis=1)]
    return found


@pytest.mark.parametrize("replicas, micro_batches", [(2, 1), (1, 2), (2, 2)])
def test_a_dropout_layer_that_is_called_twice_draws_anew_in_every_part(replicas, micro_batches):
    found = masks(replicas, micro_batches)
    assert len(set(found)) == len(found) == 4 * replicas * micro_batches * 2


def test_masks_do_not_come_again_where_the_second_number_of_a_seed_begins_anew():
    first = masks(2, 1, steps=2)
    later = masks(2, 1, first_step=LAP // 2 - 1, steps=2)
    assert len({*first, *later}) == len(first) + len(later)


def test_a_lstm_masks_inputs_and_states_otherwise_than_any_other_replica_does():
    # Inputs and states are of one size, so that their masks could be the same.
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        lstm = keras.layers.LSTM(UNITS, dropout=0.5, recurrent_dropout=0.5)
        network = keras.Sequential([keras.Input((3, UNITS)), lstm, keras.layers.Dense(1)])
        model = tfscale.Model(network)
        model.compile("sgd", loss="mse")
    step, drawn = model.train_step_runner, set()
    for draw in range(4):
        for state, value in step._seeds(tf.constant(draw, tf.int64)):
            with keras.StatelessScope(state_mapping=[(state, value)]):
                drawn |= {tuple(lstm.cell.seed_generator.next().numpy()) for _ in range(2)}
    assert len(drawn) == 8
