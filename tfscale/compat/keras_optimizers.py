"""Private names of Keras's optimizers."""

import keras
import tensorflow as tf


def take_gradients_as_reduced(optimizer: keras.optimizers.Optimizer) -> None:
    """Keeps an optimizer from adding up gradients over replicas.

    Keras does so in every `apply`, and the train step has done it before.
    """
    # Keras looks it up in the optimizer each time; see optimizers/base_optimizer.py.
    assert callable(optimizer._all_reduce_sum_gradients)
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars


def learning_rate_of(
    optimizer: keras.optimizers.Optimizer,
) -> keras.optimizers.schedules.LearningRateSchedule | keras.Variable:
    """Returns an optimizer's schedule, or its variable.

    `Optimizer.learning_rate` computes a schedule's value at the coming step, not the last one.
    """
    return optimizer._learning_rate


def decays_weight(optimizer: keras.optimizers.Optimizer, weight: keras.Variable) -> bool:
    """Returns whether an optimizer's weight decay acts on a weight.

    `exclude_from_weight_decay` sets it, and nothing public reads it.
    """
    return bool(optimizer._use_weight_decay(weight))


def count_updates_in_place(optimizer: keras.optimizers.Optimizer) -> None:
    """Has an optimizer's counter of updates raised where it lies, on a parameter server.

    Keras reads the counter, adds 1 and writes it back, and so forgets updates of other workers in
    between.
    """
    counter = optimizer.iterations
    counter.assign_add = lambda value: counter.value.assign_add(tf.cast(value, counter.dtype))
