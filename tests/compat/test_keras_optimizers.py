"""The private names of optimizers in compat/keras_optimizers.py do what tfscale needs them for."""

import keras
import pytest
import tensorflow as tf

import tfscale
from tfscale.compat import keras_optimizers as compat


def test_gradients_are_taken_as_reduced():
    strategy = tfscale.strategy("mirrored")
    with strategy.scope():
        weight = keras.Variable(1.0)
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.build([weight])
        compat.take_gradients_as_reduced(optimizer)
        # Keras would add up the gradients of both replicas.
        tf.function(lambda: strategy.run(lambda: optimizer.apply([tf.constant(0.25)], [weight])))()
    assert float(weight.numpy()) == 0.75


def test_learning_rate_is_the_schedule_or_the_variable():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    assert compat.learning_rate_of(keras.optimizers.SGD(schedule)) is schedule
    optimizer = keras.optimizers.SGD(0.5)
    assert float(compat.learning_rate_of(optimizer).numpy()) == 0.5


def test_decays_weight():
    decayed, excluded = keras.Variable([1.0]), keras.Variable([1.0])
    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.exclude_from_weight_decay(var_list=[excluded])
    optimizer.build([decayed, excluded])
    assert compat.decays_weight(optimizer, decayed)
    assert not compat.decays_weight(optimizer, excluded)


def test_updates_are_counted_in_place(monkeypatch):
    weight = keras.Variable(1.0)
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([weight])
    compat.count_updates_in_place(optimizer)
    counter = optimizer.iterations
    # Keras's own way to raise it.
    monkeypatch.setattr(counter, "assign", lambda value: pytest.fail("was read and written back"))
    optimizer.apply([tf.constant(0.25)], [weight])
    assert int(counter.value.numpy()) == 1
