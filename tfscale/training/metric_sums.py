"""The metrics of a compiled model as sums over the parts of a batch.

A metric of Keras counts in variables: totals, counts, confusion matrices. What a part of a batch
adds to them is what the metric holds when it starts from zero and sees that part alone. These
additions are summed over replicas and micro-batches like gradients, and added to the metric once.
So a metric says what it would say of the whole batch on one device. A variable that gets a mean
over the rows, such as that of a function of one number for a batch, gets the parts' means by their
rows.
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras_metrics import (
    compiled_metrics,
    metric_values,
    update_compiled_metrics,
    values_in,
)
from tfscale.compat.keras_trainer import (
    KerasLoop,
    Logs,
    Nested,
    NotingScope,
    is_own_of_keras,
    loss_tracker_of,
)
from tfscale.distribution.workers import Workers
from tfscale.errors import ConfigError
from tfscale.training.additivity import ONE_DEVICE, Rule
from tfscale.training.objective import Objective, row_count


class MetricSums:
    """Computes what metrics add up, and adds it to them.

    Args:
        model: compiled and built.
        objective: its loss.
        workers: the processes of its strategy.

    Attributes:
        variables: of all metrics of the model.
        of_losses: the identities of those that belong to the logged losses.

    """

    def __init__(self, model: KerasLoop, objective: Objective, workers: Workers):
        self.model, self.objective, self.workers = model, objective, workers
        self.variables = [variable for metric in model.metrics for variable in metric.variables]
        trackers = [output.tracker for output in objective.outputs if output.tracker is not None]
        self.of_losses = {id(v) for m in (loss_tracker_of(model), *trackers) for v in m.variables}

    def zeros(self) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Returns the variables, each with the value that it starts from."""
        return [(v, tf.zeros(v.shape, v.dtype)) for v in self.variables]

    def counted(
        self,
        scope: keras.StatelessScope,
        x: Nested,
        y: Nested,
        y_pred: Nested,
        sample_weight: Nested,
    ) -> tuple[list[tf.Tensor], Logs]:
        """Returns what each variable holds after some rows, and what `compute_metrics` logs.

        Call it within the scope, which holds what the variables begin with, and what metrics of
        layers added in the forward pass. Where `compute_metrics` is Keras's own, there are no logs.
        """
        logs: Logs = {}
        if self.model.overrides("compute_metrics"):
            logs = self.model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
        else:
            update_compiled_metrics(self.model, y, y_pred, sample_weight)
        return values_in(scope, self.variables), logs

    def additions(
        self,
        scope: keras.StatelessScope,
        x: Nested,
        y: Nested,
        y_pred: Nested,
        sample_weight: Nested,
        rules: Mapping[int, Rule] | None = None,
        global_rows: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        """Returns what a part of a batch adds to each variable; call it within the scope.

        The scope holds `zeros`, and what metrics of layers added in the forward pass. The metrics
        of the loss add nothing: that is known when all parts are.

        Args:
            rules: how the variables add up, by their identities; None where it was not measured,
                and is known of the metrics of Keras and keras-hub.
            global_rows: rows of the whole batch; needed by the rule "mean".

        Raises:
            ConfigError: how a metric adds up has to be measured and was not.
        """
        if rules is None:
            self._check_known()
        found = []
        values, _ = self.counted(scope, x, y, y_pred, sample_weight)
        for v, value in zip(self.variables, values, strict=True):
            if id(v) in self.of_losses:
                value = tf.zeros(v.shape, v.dtype)
            if value.dtype.is_integer:
                # TensorFlow keeps int32 on the host, where replicas cannot add it up together with
                # gradients. Counts of a batch are exact up to 2^24, and rounded in the end.
                value = tf.cast(value, tf.float32)
            if rules is not None and rules.get(id(v)) == "mean":
                # Of a count of 1 for each batch this is a share.
                value *= tf.cast(row_count(x, tf.float32) / global_rows, value.dtype)
            found.append(value)
        return found

    def _check_known(self) -> None:
        own = [metric for metric in compiled_metrics(self.model) if not is_own_of_keras(metric)]
        named = f"metric {own[0].name!r} is not one of Keras or keras-hub" if own else ""
        if self.model.overrides("compute_metrics"):
            named = f"{type(self.model).__name__} overrides compute_metrics"
        if named:
            raise ConfigError(
                f"{named}, and whether what it counts adds up over replicas and micro-batches was"
                f" not measured; {ONE_DEVICE}"
            )

    def with_losses(
        self,
        additions: Sequence[tf.Tensor],
        loss: tf.Tensor,
        of_outputs: Sequence[tf.Tensor],
        rows: tf.Tensor,
        static_rows: int | None,
    ) -> list[tf.Tensor]:
        """Returns additions that hold those of the losses, too.

        Args:
            additions: sums over all parts of a batch.
            loss: of the whole batch.
            of_outputs: the loss of each output.
            rows: B, which Keras weights the loss by.
            static_rows: B where the shape of the data says it. Keras weights the losses of the
                outputs by it, and alike where it does not.
        """
        scope_values = [tf.zeros(v.shape, v.dtype) for v in self.variables]
        with metric_values(self.variables, scope_values) as scope:
            loss_tracker_of(self.model).update_state(loss, sample_weight=rows)
            for output, value in zip(self.objective.outputs, of_outputs, strict=False):
                if output.tracker is not None:
                    output.tracker.update_state(value, sample_weight=static_rows)
            found = values_in(scope, self.variables)
        pairs = zip(self.variables, additions, found, strict=True)
        return [new if id(v) in self.of_losses else addition for v, addition, new in pairs]

    def add(self, additions: Sequence[tf.Tensor]) -> None:
        """Adds to the metrics, in cross-replica context.

        See `add_to_variables`.
        """
        add_to_variables(self.variables, additions, self.workers)


def constant_of(
    metric: keras.metrics.Metric, targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray
) -> keras.Variable | None:
    """Returns a variable that a metric does not count in though it is not 0; None without one."""
    with NotingScope() as scope:
        scope.state_mapping |= {id(v): tf.zeros(v.shape, v.dtype) for v in metric.variables}
        parts = (tf.convert_to_tensor(part) for part in (targets, outputs))
        metric.update_state(*parts, sample_weight=tf.convert_to_tensor(weights))
    left = [variable for variable in metric.variables if id(variable) not in scope.noted]
    return next((v for v in left if np.asarray(tf.convert_to_tensor(v.value)).any()), None)


def add_to_variables(
    variables: Sequence[keras.Variable], additions: Sequence[tf.Tensor], workers: Workers
) -> None:
    """Adds to the variables of metrics, in cross-replica context.

    A metric's variable that was made under a strategy is read as the sum of its copies, over all
    workers: one copy gets everything. Any other one has the same value everywhere.
    """
    for variable, addition in zip(variables, additions, strict=True):
        if addition.dtype != variable.dtype:
            addition = tf.cast(tf.round(addition), variable.dtype)
        copies = getattr(variable.value, "values", [variable.value])
        if variable.value.synchronization != tf.VariableSynchronization.ON_READ:
            for copy in copies:
                copy.assign_add(addition)
        elif workers.is_chief or len(copies) == 1 and copies[0] is variable.value:
            copies[0].assign_add(addition)
