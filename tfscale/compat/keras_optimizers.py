"""Private names of Keras's optimizers."""

import abc
from collections.abc import Sequence

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


def unknown_weights(
    optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]
) -> list[keras.Variable]:
    """Returns those of the weights that a built optimizer has no state for, and cannot update."""
    known = optimizer._trainable_variables_indices
    return [weight for weight in weights if optimizer._var_key(weight) not in known]


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


@keras.saving.register_keras_serializable("tfscale")
class Nadam(keras.optimizers.Nadam):
    """Keras's Nadam, which can be updated on several replicas.

    Keras's keeps a product over the steps in a variable that TensorFlow does not let a replica
    write, because it does not say what becomes of the values of several.
    """

    _u_product: keras.Variable

    def build(self, var_list):
        if self.built:
            return
        super().build(var_list)
        self._untrack_variable(self._u_product)
        # All replicas multiply by the same.
        self._u_product = keras.Variable(
            1.0,
            dtype=var_list[0].dtype,
            trainable=False,
            aggregation="only_first_replica",
            name="product",
        )


class DirectedMuon(keras.optimizers.Muon, abc.ABC):
    """`keras.optimizers.Muon` whose matrices are chosen by index and updated in given directions.

    A subclass says which weights are matrices (`is_matrix`) and what their updates are
    (`directions`), for all of them at once. Everything else is Keras's: AdamW for other weights,
    state, schedule. Keras itself chooses by a weight's path, takes one matrix after the other, and
    decays weights in a way that fails on several replicas.
    """

    @abc.abstractmethod
    def is_matrix(self, index: int) -> bool:
        """Returns whether the weight with this index, in the order of `build`, is a matrix."""

    @abc.abstractmethod
    def directions(self, momenta: dict[int, tf.Tensor]) -> dict[int, tf.Tensor]:
        """Returns what is subtracted from each matrix, per unit of the learning rate.

        Args:
            momenta: by index, the momentum of each matrix, in its shape.
        """

    def update_step(self, gradient, variable, learning_rate):
        if not isinstance(gradient, tuple):
            return super().update_step(gradient, variable, learning_rate)
        momentum, direction = gradient
        self.assign(self.momentums[self._get_variable_index(variable)], momentum)
        self.assign_sub(variable, direction * tf.cast(learning_rate, direction.dtype))

    def _should_use_adamw(self, variable):
        return not self.is_matrix(self._get_variable_index(variable))

    def _apply_weight_decay(self, variables):
        # Past Keras's Muon, which assigns to the variables of all replicas from one of them.
        super(keras.optimizers.Muon, self)._apply_weight_decay(variables)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        variables = [v.value if isinstance(v, keras.Variable) else v for v in trainable_variables]
        pairs = self._all_reduce_sum_gradients(list(zip(grads, variables, strict=True)))
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._distributed_tf_update_step,
            self._distribution_strategy,
            self._with_directions(pairs),
            learning_rate,
        )

    def _with_directions(self, pairs):
        """Gradients and variables, with (new momentum, direction) for the gradient of a matrix."""
        after, ahead = {}, {}
        for gradient, variable in pairs:
            index = self._get_variable_index(variable)
            if self.is_matrix(index):
                momentum = tf.convert_to_tensor(self.momentums[index].value)
                gradient = tf.cast(gradient, momentum.dtype)
                after[index] = self.momentum * momentum + gradient
                ahead[index] = (
                    self.momentum * after[index] + gradient if self.nesterov else after[index]
                )
        directions = self.directions(ahead)
        indices = [self._get_variable_index(variable) for _, variable in pairs]
        return [
            ((after[index], directions[index]) if index in after else gradient, variable)
            for index, (gradient, variable) in zip(indices, pairs, strict=True)
        ]
