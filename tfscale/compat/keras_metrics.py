"""Private names of Keras that tell which metrics `compile` was given, and how each is called.

`keras.Model` keeps the metrics of `compile` in a container that updates them all by one rule. A
step that gives them other weights than Keras does has to call each of them by itself.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

from tfscale.compat.keras_trainer import Nested
from tfscale.compat.tensorflow import of_shape


def has_compiled_metrics(model: keras.Model) -> bool:
    """Returns whether `compile` was given metrics, with or without weights."""
    compiled = model._compile_metrics
    return compiled is not None and bool(compiled._user_metrics or compiled._user_weighted_metrics)


def forget_metrics(model: keras.Model) -> None:
    """Forgets the metrics of an earlier `compile`, which Keras keeps where it gets none."""
    model._compile_metrics = None


def make_compiled_metrics(
    model: keras.Model, targets: keras.KerasTensor, outputs: keras.KerasTensor
) -> None:
    """Makes metrics of what `compile` was given (names, functions), unless it was done before.

    Args:
        model: compiled with metrics.
        targets: shape and type of the targets, by which Keras tells one accuracy from the other.
        outputs: shape and type of the network's one output.
    """
    if not model._compile_metrics.built:
        model._compile_metrics.build(targets, outputs)


def plain_and_weighted(
    model: keras.Model,
) -> tuple[list[keras.metrics.Metric], list[keras.metrics.Metric]]:
    """Returns the `metrics` and the `weighted_metrics` of a model with one output."""
    compiled = model._compile_metrics
    first = (compiled._flat_metrics[0], compiled._flat_weighted_metrics[0])
    plain, weighted = ([] if found is None else list(found.metrics) for found in first)
    return plain, weighted


def compiled_results(model: keras.Model) -> dict[str, tf.Tensor]:
    """Returns the results of the metrics by the names that they have in Keras's logs."""
    return model._compile_metrics.result()


def given_metrics(model: keras.Model) -> tuple[object, object]:
    """Returns `metrics` and `weighted_metrics` as `compile` was given them; None where not."""
    compiled = model._compile_metrics
    if compiled is None:
        return None, None
    return compiled._user_metrics, compiled._user_weighted_metrics


def expects_probabilities(metric: keras.metrics.Metric) -> bool:
    """Returns whether a metric has an argument `from_logits`, and it is False.

    Metrics made of a function keep the function's arguments apart.
    """
    function = getattr(metric, "_fn", None)
    if function is not None and callable(function):
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):  # a function written in C
            return False
        if "from_logits" in parameters:
            default = parameters["from_logits"].default
            return metric._fn_kwargs.get("from_logits", default) is False
    return getattr(metric, "from_logits", None) is False


def takes_weights(metric: keras.metrics.Metric) -> bool:
    """Returns whether a metric's `update_state` has the argument `sample_weight`."""
    # Keras wraps it in a function of any arguments for each metric.
    parameters = inspect.signature(type(metric).update_state).parameters
    kinds = [parameter.kind for parameter in parameters.values()]
    return "sample_weight" in parameters or inspect.Parameter.VAR_KEYWORD in kinds


@contextlib.contextmanager
def metric_values(
    variables: Sequence[keras.Variable], values: Sequence[tf.Tensor]
) -> Iterator[keras.StatelessScope]:
    """Gives metrics other values for the block and keeps what they become in the scope."""
    with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
        yield scope


def values_in(scope: keras.StatelessScope, variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Returns what variables of metrics have become within a scope, in their types and shapes."""
    return [of_shape(tf.cast(scope.get_current_value(v), v.dtype), v.shape) for v in variables]


def updated(
    variables: Sequence[keras.Variable],
    values: Sequence[tf.Tensor],
    update: Callable[[], None],
) -> list[tf.Tensor]:
    """Returns what variables of metrics become when an update starts from other values.

    Args:
        variables: of metrics.
        values: what each of them starts from.
        update: updates the metrics.
    """
    with metric_values(variables, values) as scope:
        update()
        return values_in(scope, variables)


def update_compiled_metrics(
    model: keras.Model, y: Nested, y_pred: Nested, sample_weight: Nested
) -> None:
    """Updates the metrics that `compile` was given, without computing their results."""
    if model._compile_metrics is not None:
        model._compile_metrics.update_state(y, y_pred, sample_weight)


def compiled_metrics(model: keras.Model) -> Sequence[keras.metrics.Metric]:
    """Returns the metrics that `compile` was given, one by one."""
    return [] if model._compile_metrics is None else model._compile_metrics.metrics
