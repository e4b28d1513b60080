"""Private names of Keras 3 that tfscale needs, each with the reason.

Nobody else uses such names. When an upgrade of Keras takes one away, tests/compat/test_keras.py
says which.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

KerasConfig = dict[str, Any]
"""The result of a layer's `get_config`: `Any`, because each layer has arguments of its own."""
KerasTree = Any
"""Arrays in lists, tuples and dicts, as `keras.tree` takes them: how deep, each model decides."""
Call = Callable[..., tf.Tensor]
"""A layer's forward pass, as `keras.layers.Layer.call`."""


def layers_of(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer and all layers inside it, however deep.

    `Model.layers` gives the first level only, and `Model.weights` does not say whose a weight is.
    """
    return list(model._flatten_layers())


class HasLayers:
    """Base of what is not a layer itself: `layers_of` returns those of its `model`."""

    model: keras.Model

    def _flatten_layers(self) -> list[keras.layers.Layer]:
        return layers_of(self.model)


def is_leaf(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer holds no other layer, for which there is no public name."""
    return not layer._layers


def own_trainable_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the trainable variables that a layer itself holds, without those of layers inside it.

    `Layer.trainable_variables` gives both.
    """
    return list(layer._trainable_variables)


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the variables that a layer itself holds, without those of layers inside it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def embedding_table(layer: keras.layers.Embedding) -> keras.Variable:
    """Returns the variable with the table of an embedding layer.

    `Embedding.embeddings` is a tensor where the layer is quantized or has a low-rank addition.
    """
    return layer._embeddings


def symbolic_calls(layer: keras.layers.Layer) -> list:
    """Returns the places in functional models where a layer is called, as Keras's `Node`s.

    A node's `arguments.kwargs` and `input_tensors` say how; Keras names them nowhere in public.
    """
    return list(layer._inbound_nodes)


@contextlib.contextmanager
def layers_called_by(calls: Sequence[tuple[keras.layers.Layer, Call]]) -> Iterator[None]:
    """Has layers compute by other functions than their own `call` for the block.

    `Layer.__setattr__` refuses or tracks attributes of a layer that is built, so the functions go
    past it. A layer whose `call` was replaced before has that one again afterwards.

    Args:
        calls: layers, each with the function that takes the arguments of its `call`.
    """
    before = [(layer, vars(layer).get("call")) for layer, _ in calls]
    try:
        for layer, call in calls:
            object.__setattr__(layer, "call", call)
        yield
    finally:
        for layer, replaced in before:
            if replaced is not None:
                object.__setattr__(layer, "call", replaced)
            else:
                object.__delattr__(layer, "call")


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


def set_path(variable: keras.Variable, path: str) -> None:
    """Gives a variable a path of its own; `Variable.path` is made of name scopes and read-only.

    Optimizers name their variables after it.
    """
    assert isinstance(variable._path, str)
    variable._path = path


def profiles_batches(callback: keras.callbacks.TensorBoard) -> bool:
    """Returns whether a TensorBoard callback profiles; `profile_batch` itself is not kept."""
    return callback._stop_batch > 0


def profiled_steps(callback: keras.callbacks.TensorBoard) -> tuple[int, int]:
    """Returns the first and the last step that a TensorBoard callback profiles; see above."""
    return callback._start_batch, callback._stop_batch


def count_train_steps(callback: keras.callbacks.TensorBoard, before: int) -> None:
    """Tells a TensorBoard callback how many steps came before the one that it is called for next.

    It counts calls, and has no other place for the number of the step that it writes.
    """
    assert isinstance(callback._global_train_batch, int)
    callback._global_train_batch = before


def count_from_epoch_begin(callback: keras.callbacks.BackupAndRestore) -> None:
    """Has a callback count the first step of an epoch where a call takes several.

    It takes 0 for the last batch seen before an epoch, and so leaves out batch 0.
    """
    assert isinstance(callback._last_batch_seen, int)
    callback._last_batch_seen = -1


def forget_restored_epoch(model: keras.Model) -> None:
    """Makes `restored_epoch` None until a callback restores the model."""
    model._initial_epoch = None


def restored_epoch(model: keras.Model) -> int | None:
    """Returns the epoch to go on with that `BackupAndRestore` has left in the model; None if none.

    It is how the callback tells Keras's own `fit`; nothing public does.
    """
    return model._initial_epoch


class WholeArray(Protocol):
    """An array that is spread over devices, and read and assigned as one."""

    shape: tf.TensorShape

    def numpy(self) -> np.ndarray: ...

    def assign(self, value: np.ndarray) -> None: ...


class SpreadVariable(keras.Variable):
    """A Keras variable whose value is on several replicas or servers.

    Keras reads a variable's `_value` when it saves weights and assigns by `_direct_assign`; what is
    spread has other ways for both.

    Args:
        parts: the whole.
        first: one of the parts, which gives the type.
        name: of the variable.
    """

    def __init__(self, parts: WholeArray, first: tf.Variable, name: str):
        super().__init__(first, trainable=False, name=name)
        self._parts, self._shape = parts, tuple(parts.shape)

    def numpy(self) -> np.ndarray:
        return self._parts.numpy()

    def _direct_assign(self, value: ArrayLike) -> None:
        self._parts.assign(np.asarray(value))


def mask_of(tensor: tf.Tensor) -> tf.Tensor | None:
    """Returns the mask that a layer handed on with a tensor; None without one.

    It is what Keras's own losses read.
    """
    from keras.src.backend import get_keras_mask

    return get_keras_mask(tensor)


def with_mask(tensor: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Returns a tensor that carries a mask as a layer's output does; see `mask_of`."""
    from keras.src.backend import set_keras_mask

    set_keras_mask(tensor, mask)
    return tensor
