"""Private names of Keras's losses: those that `compile` was given, and how each counts.

Keras adds up the losses of all outputs of a whole batch by itself. A step that adds up parts of a
batch has to see each loss, its values, weights and masks.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras.src.losses import loss as loss_module

from tfscale.compat.keras_trainer import Nested


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


def need_targets(model: keras.Model) -> str:
    """Returns what `compile` was given that cannot do without targets, "" if nothing is.

    That is any loss that does not override `__call__`, and metrics that Keras makes from a name.
    """
    given = None if model._compile_loss is None else model._compile_loss._user_loss
    for loss in keras.tree.flatten(given):
        if isinstance(loss, str):
            return f"loss {loss!r}"
        if isinstance(loss, keras.losses.Loss):
            if type(loss).__call__ is keras.losses.Loss.__call__:
                return f"loss {loss.name!r}"
        elif loss is not None:
            return f"loss {getattr(loss, '__name__', repr(loss))!r}"
    metrics = model._compile_metrics
    if metrics is not None:
        given = [metrics._user_metrics, metrics._user_weighted_metrics]
        for metric in keras.tree.flatten(given):
            if isinstance(metric, str):
                return f"metric {metric!r}"
    return ""


def outputs_without_loss(model: keras.Model) -> set[str]:
    """Returns the names of outputs that neither a loss nor a metric looks at."""
    given = None if model._compile_loss is None else model._compile_loss._user_loss
    if not isinstance(given, dict) or model._compile_metrics is not None:
        return set()
    return {name for name, loss in given.items() if loss is None}


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
