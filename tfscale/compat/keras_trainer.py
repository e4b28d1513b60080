"""Private names of Keras's trainer: what lets Keras's own `fit` drive another step.

`keras.Model.fit` reads data, counts epochs and calls callbacks; `make_train_function` is the place
where a step of one's own goes in. What is here keeps that loop on whole (global) batches, so that
it never distributes, and builds models before their step is traced.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from tensorflow.python.distribute.values import PerReplicaSpec

from tfscale.compat.keras_weighting import fitting_weights

Nested: TypeAlias = object
"""Tensors or None, alone or in lists, tuples and dictionaries."""
Logs: TypeAlias = dict[str, tf.Tensor]


class WholeBatches:
    """Stands where Keras's trainer asks for a strategy: every batch stays as it is."""

    num_replicas_in_sync = 1

    def experimental_distribute_dataset(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the dataset."""
        return dataset

    def run(self, function: Callable, args: tuple = ()) -> Nested:
        """Calls the function."""
        return function(*args)

    def scope(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context that changes nothing."""
        return contextlib.nullcontext()


class NotingScope(keras.StatelessScope):
    """A stateless scope that knows which variables were assigned within.

    Attributes:
        noted: the variables, by identity, in the order of their first assignments.
    """

    def __init__(self) -> None:
        super().__init__(collect_losses=True)
        self.noted: dict[int, keras.Variable] = {}

    def add_update(self, update: tuple[keras.Variable, Nested]) -> None:
        """Notes a variable and keeps its new value."""
        self.noted[id(update[0])] = update[0]
        super().add_update(update)


class KerasLoop(keras.Model):
    """A Keras model whose `fit`, `evaluate` and `predict` hand whole batches to their functions.

    Attributes:
        strategy: the `tf.distribute` strategy in whose scope the model is built.
        network: the model within.
        teacher: what it learns from besides its targets, or None.
    """

    strategy: tf.distribute.Strategy
    train_function: Callable | None
    test_function: Callable | None
    predict_function: Callable | None
    network: keras.Model
    teacher: Any

    @property
    def distribute_strategy(self) -> WholeBatches:
        """The strategy that Keras's loop sees."""
        return WholeBatches()

    def _maybe_symbolic_build(self, iterator=None, data_batch: Nested = None) -> None:
        # Keras calls it before it makes a train or test function. Without a strategy it leaves the
        # building to the tracing, and with one it reads a batch, which a generator does not give
        # back.
        if data_batch is None:
            data_batch = _symbolic(iterator._distributed_dataset.element_spec)
        self.check_batch(data_batch)
        with self.strategy.scope():
            try:
                self._symbolic_build(data_batch=data_batch)
            except (tf.errors.OperatorNotAllowedInGraphError, RuntimeError):
                # Python conditions on tensors, which Keras allows where all is eager. The latter
                # is what Keras makes of any error of the network's.
                if not self.run_eagerly:
                    raise
                self._eager_build(data_batch)
        self.on_built()

    def _eager_build(self, data_batch: Nested) -> None:
        """Builds as `_symbolic_build` does, by tensors of zeros."""
        batch = keras.tree.map_structure(_zeros, data_batch)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        if not all(layer.built for layer in self._flatten_layers()):
            self(x, training=False)
        # What is assigned is forgotten. Regularizers ask the scope for the weights.
        values = [(v, tf.convert_to_tensor(v.value)) for v in self.network.trainable_variables]
        with keras.StatelessScope(state_mapping=values):
            y_pred = self(x, training=False)
            self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
            self._compute_loss(x, y, y_pred, sample_weight, training=False)
        self._symbolic_build(data_batch=data_batch)

    @property
    def output_names(self) -> list[str]:
        """The names of a functional network's outputs, by which `compile` may be given losses.

        Raises:
            AttributeError: the network has none, which Keras asks by `hasattr`.
        """
        return self.network.output_names

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics of loss and `compile`, the network's own, and those of its layers."""
        known = super().metrics
        count = len(self._get_own_metrics())
        # Keras takes a model within a model for one that is trained by itself.
        return [*known[:count], *self.network._metrics, *known[count:]]

    def check_batch(self, data_batch: Nested) -> None:
        """Is called with what stands for a batch, before anything is built for it."""

    def on_built(self) -> None:
        """Is called when layers, loss and metrics have their variables."""

    def compute_loss(
        self,
        x: Nested = None,
        y: Nested = None,
        y_pred: Nested = None,
        sample_weight: Nested = None,
        training: bool = True,
    ) -> tf.Tensor | None:
        """Returns what Keras's does; weights that do not fit the values of a loss are refused."""
        with fitting_weights():
            return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_whole_loss(
        self, x: Nested, y: Nested, y_pred: Nested, sample_weight: Nested, training: bool
    ) -> tf.Tensor:
        """Returns what `compute_loss` does, whether it takes `training` or not."""
        return self._compute_loss(x, y, y_pred, sample_weight, training=training)

    def overrides(self, name: str) -> bool:
        """Returns whether a class below this package's changes a method of Keras's trainer."""
        return getattr(type(self), name) is not getattr(KerasLoop, name)


@contextlib.contextmanager
def as_raised_within() -> Iterator[None]:
    """Keeps Keras from adding a model's arguments to an error of the model within it."""
    try:
        yield
    except Exception as error:
        error._keras_call_info_injected = True  # type: ignore[attr-defined]
        raise


def _zeros(part: keras.KerasTensor | None) -> tf.Tensor | None:
    if part is None:
        return None
    value = tf.zeros([2 if size is None else size for size in part.shape], part.dtype)
    if part.ragged:
        return tf.RaggedTensor.from_tensor(value)
    return tf.sparse.from_dense(value) if part.sparse else value


def _symbolic(spec: Nested) -> Nested:
    """Returns tensors without values for a dataset's specification; None for what may be None."""

    def one(part):
        if isinstance(part, tf.OptionalSpec | tf.NoneTensorSpec):
            return None
        if isinstance(part, PerReplicaSpec):
            part = part._value_specs[0]
        sparse = isinstance(part, tf.SparseTensorSpec)
        shape = part._shape if isinstance(part, tf.RaggedTensorSpec) else part.shape
        if isinstance(part, tf.RaggedTensorSpec):
            return keras.KerasTensor(shape, part._dtype, ragged=True)
        if part.dtype == tf.string:
            return keras.KerasTensor(shape, "string")
        return keras.KerasTensor(shape, part.dtype.name, sparse=sparse)

    return tf.nest.map_structure(one, spec)


def without_optionals(data: Nested) -> Nested:
    """Returns a batch in which what a dataset gives as an empty optional is None."""
    return keras.tree.map_structure(
        lambda part: None if isinstance(part, tf.experimental.Optional) else part, data
    )


def loss_tracker_of(model: keras.Model) -> keras.metrics.Mean:
    """Returns the metric in which Keras's trainer keeps what it logs as "loss".

    It is not an attribute of the model: subclasses have one of their own by the name
    `loss_tracker`.
    """
    return model._loss_tracker


def is_own_of_keras(thing: object) -> bool:
    """Returns whether Keras or keras-hub wrote a loss or metric, function and all."""
    function = getattr(thing, "fn", None) or getattr(thing, "_fn", None)
    modules = [type(thing).__module__]
    if function is not None:
        modules.append(getattr(function, "__module__", "") or "")
    return all(module.split(".")[0] in ("keras", "keras_hub") for module in modules)
