"""Private names of Keras's trainer: what lets Keras's own `fit` drive another step.

`keras.Model.fit` reads data, counts epochs and calls callbacks; `make_train_function` is the place
where a step of one's own goes in. What is here keeps that loop on whole (global) batches, so that
it never distributes, and builds models before their step is traced.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras.src.losses import loss as loss_module
from tensorflow.python.distribute.values import PerReplicaSpec

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
        """What Keras's loop takes for its strategy."""
        return WholeBatches()

    def _maybe_symbolic_build(self, iterator=None, data_batch: Nested = None) -> None:
        # Keras calls it before it makes a train or test function. Without a strategy it leaves the
        # building to the tracing, and with one it reads a batch, which a generator does not give
        # back.
        if data_batch is None:
            data_batch = _symbolic(iterator._distributed_dataset.element_spec)
        with self.strategy.scope():
            self._symbolic_build(data_batch=data_batch)
        self.on_built()

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

    def on_built(self) -> None:
        """Is called when layers, loss and metrics have their variables."""

    def compute_whole_loss(
        self, x: Nested, y: Nested, y_pred: Nested, sample_weight: Nested, training: bool
    ) -> tf.Tensor:
        """Returns what `compute_loss` does, whether it takes `training` or not."""
        return self._compute_loss(x, y, y_pred, sample_weight, training=training)

    @property
    def loss_tracker(self) -> keras.metrics.Mean:
        """The metric that is logged as "loss"."""
        return self._loss_tracker

    def overrides(self, name: str) -> bool:
        """Returns whether a class below this package's changes a method of Keras's trainer."""
        return getattr(type(self), name) is not getattr(KerasLoop, name)


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


@dataclass(frozen=True)
class OutputLoss:
    """The loss of one output of a compiled model.

    Attributes:
        loss: the resolved loss.
        weight: its `loss_weights`; None is 1.
        name: as in the logs.
        tracker: the metric that logs it by itself; None where there is one output.
    """

    loss: keras.losses.Loss
    weight: float | None
    name: str
    tracker: keras.metrics.Metric | None


def output_losses(model: keras.Model) -> list[OutputLoss]:
    """Returns the losses of the outputs of a model that is compiled and built."""
    compiled = model._compile_loss
    if compiled is None:
        return []
    trackers = compiled.metrics or [None] * len(compiled._flat_losses)
    return [
        OutputLoss(one.loss, one.loss_weights, one.name, tracker)
        for one, tracker in zip(compiled._flat_losses, trackers, strict=True)
    ]


def each_output(
    model: keras.Model, y: Nested, y_pred: Nested, sample_weight: Nested, visit: Callable
) -> None:
    """Visits the loss of each output with the targets and weights that Keras finds for it.

    Keras's `CompileLoss` pairs targets, outputs and weights of any structure. Its losses are
    replaced for the call by ones that ask `visit`.

    Args:
        model: compiled and built.
        y: targets.
        y_pred: outputs.
        sample_weight: weights, or None.
        visit: function (index, targets, outputs, weights) of one output.
    """
    compiled = model._compile_loss
    if compiled is None:
        return
    before, metrics = compiled._flat_losses, compiled._metrics

    def visitor(index: int) -> Callable:
        def loss(y_true, output, weights=None):
            visit(index, y_true, output, weights)
            return tf.zeros(())

        return loss

    stand_ins = [
        one._replace(loss=visitor(index), loss_weights=None) for index, one in enumerate(before)
    ]
    try:
        compiled._flat_losses = stand_ins
        # Without metrics Keras visits the first loss alone.
        compiled._metrics = [_Ignores() for _ in before]
        compiled.call(y, y_pred, sample_weight)
    finally:
        compiled._flat_losses, compiled._metrics = before, metrics


@contextlib.contextmanager
def outputs_tracked_alike(model: keras.Model) -> Iterator[None]:
    """Has the logged loss of each output count every call alike for the block.

    Keras weighs it by the rows where shapes say them, which those of parts of a batch do not.
    """
    compiled = model._compile_loss
    before = None if compiled is None else compiled._metrics
    try:
        if before:
            compiled._metrics = [_CountsAlike(metric) for metric in before]
        yield
    finally:
        if before:
            compiled._metrics = before


class _CountsAlike:
    """A metric that takes no weights."""

    def __init__(self, metric: keras.metrics.Metric):
        self.metric = metric

    def update_state(self, value: tf.Tensor, sample_weight: object = None) -> None:
        """Counts a value as 1."""
        self.metric.update_state(value)


class _Ignores:
    """A metric that takes no note of anything."""

    def update_state(self, *args: object, **kwargs: object) -> None:
        """Does nothing."""


def update_compiled_metrics(
    model: keras.Model, y: Nested, y_pred: Nested, sample_weight: Nested
) -> None:
    """Updates the metrics that `compile` was given, without computing their results."""
    if model._compile_metrics is not None:
        model._compile_metrics.update_state(y, y_pred, sample_weight)


def replace_loss(model: keras.Model, loss: keras.losses.Loss) -> None:
    """Gives a model that is compiled and built another loss of its one output."""
    [before] = model._compile_loss._flat_losses
    model._compile_loss._flat_losses = [before._replace(loss=loss)]


def takes_logits(loss: keras.losses.Loss) -> bool | None:
    """Returns whether one of Keras's cross-entropies of classes takes logits; None of others."""
    losses = keras.losses
    known = (
        losses.categorical_crossentropy,
        losses.sparse_categorical_crossentropy,
        losses.categorical_focal_crossentropy,
    )
    if getattr(loss, "fn", None) not in known:
        return None
    return bool(loss._fn_kwargs.get("from_logits", False))


@contextlib.contextmanager
def undivided_losses() -> Iterator[None]:
    """Keeps Keras from dividing losses by the number of replicas for the block.

    `keras.losses.Loss` does so in the scope of a strategy, whoever adds up the replicas' gradients.
    """
    names = ("scale_loss_for_distribution", "unscale_loss_for_distribution")
    before = {name: getattr(loss_module, name) for name in names}
    try:
        for name in names:
            setattr(loss_module, name, lambda value: value)
        yield
    finally:
        for name, function in before.items():
            setattr(loss_module, name, function)


def elementwise(loss: keras.losses.Loss) -> keras.losses.Loss:
    """Returns a loss that does not reduce: weighted and masked values, one for each element."""
    # `copy.copy` would serialize it, and so refuse functions of the user's own.
    unreduced = object.__new__(type(loss))
    vars(unreduced).update(vars(loss))
    unreduced.reduction = "none"
    return unreduced


def elementwise_weights(loss: keras.losses.Loss) -> keras.losses.Loss:
    """Returns a loss whose values are 1, so that what it gives are weights times masks."""
    ones = elementwise(loss)
    call = loss.call
    ones.call = lambda y_true, y_pred: keras.ops.ones_like(call(y_true, y_pred))
    return ones


def is_own_of_keras(thing: object) -> bool:
    """Returns whether Keras or keras-hub wrote a loss or metric, function and all."""
    function = getattr(thing, "fn", None) or getattr(thing, "_fn", None)
    modules = [type(thing).__module__]
    if function is not None:
        modules.append(getattr(function, "__module__", "") or "")
    return all(module.split(".")[0] in ("keras", "keras_hub") for module in modules)


def compiled_metrics(model: keras.Model) -> Sequence[keras.metrics.Metric]:
    """Returns the metrics that `compile` was given, one by one."""
    return [] if model._compile_metrics is None else model._compile_metrics.metrics


@contextlib.contextmanager
def metric_values(
    variables: Sequence[keras.Variable], values: Sequence[tf.Tensor]
) -> Iterator[keras.StatelessScope]:
    """Gives metrics other values for the block and keeps what they become in the scope."""
    with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
        yield scope
