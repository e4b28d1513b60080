"""Asks of each loss and each metric of a model how it adds up, and takes the answers from numbers.

Shapes: n rows that are looked at, b rows of a part of them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras_metrics import compiled_metrics
from tfscale.compat.keras_trainer import Nested, is_own_of_keras
from tfscale.errors import ConfigError
from tfscale.training.additivity import ONE_DEVICE, Question, Rule, Rules
from tfscale.training.distilled_loss import without_teacher
from tfscale.training.slices import map_parts

if TYPE_CHECKING:
    from tfscale.training.probe import Probe

ROW_ALONE = "return one value for each row, (B,), from that row alone"
MEAN_OR_SUM = "make it the mean or the sum of a value of each row"


class Questions:
    """The questions about a model, and what was seen of some rows.

    Args:
        probe: computes the numbers.
        batch: inputs (n, ...), targets and weights.
        count: n.
        mode: whether the network is called for training.
    """

    def __init__(self, probe: "Probe", batch: Sequence[Nested], count: int, mode: bool):
        self.probe, self.batch, self.count, self.mode = probe, batch, count, mode
        self.model, self.variables = probe.model, probe.metrics.variables
        self.outputs: list[Question] = []
        self.added: list[Question] = []
        self.whole: list[Question] = []
        self._owners = {
            id(variable): metric
            for metric in [*self.model.metrics, *compiled_metrics(self.model)]
            for variable in metric.variables
        }
        self.metrics = {
            id(variable): Question(
                f"{variable.name!r} of metric {self._owners[id(variable)].name!r}",
                ("sum", "mean"),
                "count sums over rows",
            )
            for variable in self.variables
            if id(variable) not in probe.metrics.of_losses
        }

    def look(self, noise: float, targets_as_outputs: bool = False) -> None:
        """Computes the numbers of all rows and of their parts, and shows them to the questions.

        Args:
            noise: on the weights.
            targets_as_outputs: give the metrics the targets for outputs, so that they count
                something; the losses are not looked at.

        Raises:
            ConfigError: the network's outputs of a row change with the others.
        """
        x, y, _ = self.batch
        y_pred, masks, _ = self.probe.forward(x, 0, noise, self.mode)
        if targets_as_outputs:
            y_pred = _as_outputs(y, y_pred)
            if y_pred is None:
                return
        zeros = [np.zeros(v.shape, v.dtype) for v in self.variables]

        def numbers(rows: np.ndarray, starts: Sequence[np.ndarray], draw: int):
            found = self.probe.numbers(
                [_taken(part, rows) for part in self.batch],
                _taken(y_pred, rows),
                [None if mask is None else tf.gather(mask, rows) for mask in masks],
                starts,
                draw,
                noise,
                self.count,
                self.mode,
            )
            return {name: _plain(value) for name, value in found.items()}

        every = np.arange(self.count)
        whole = numbers(every, zeros, 1)
        random = not self.probe.alike(whole["own"], keras.tree.flatten(_plain(y_pred)))
        self._check_logs(whole)
        for number, chosen in enumerate((every < max(1, self.count // 3), every % 3 == 1)):
            sizes = [int(chosen.sum()), int((~chosen).sum())]
            parts = [numbers(every[rows], zeros, 2) for rows in (chosen, ~chosen)]
            if not (noise or random or targets_as_outputs):
                self._check_rows_alone(y_pred, [every[chosen], every[~chosen]], parts)
            if not targets_as_outputs:
                self._see_losses(whole, parts, sizes)
            self._see_metrics(whole, parts, sizes)
            if number == 0:
                # Neither what was counted before nor another draw may make a difference.
                again = numbers(every, parts[0]["metrics"], 3)
                self._see_again(whole, again, parts[0]["metrics"])

    def are_of_own(self) -> bool:
        """Returns whether some of it is not of Keras's making, or one number for all rows."""
        losses = self.probe.objective.outputs
        metrics = compiled_metrics(self.model)
        return bool(
            self.added
            or self.whole
            or any("mean" in question.among for question in self.outputs)
            or not all(is_own_of_keras(without_teacher(output.loss)) for output in losses)
            or not all(is_own_of_keras(metric) for metric in metrics)
            or self.model.overrides("compute_metrics")
        )

    def has_open_metrics(self) -> bool:
        """Returns whether a metric counted nothing that shows how it adds up."""
        return any(question.is_open() for question in self.metrics.values())

    def rules(self) -> Rules:
        """Returns the answers.

        Raises:
            ConfigError: there is none; names what was measured.
        """
        metrics: dict[int, Rule] = {}
        self._see_constants()
        for key, question in self.metrics.items():
            metric = self._owners[key]
            default: Rule | None = None if key in self.probe.assigned else "sum"
            if is_own_of_keras(metric) and not self.model.overrides("compute_metrics"):
                # Keras's own add up, but for those that a layer gives a number for a batch.
                beside = [self.metrics[id(v)] for v in metric.variables]
                default = "mean" if any(other.left == ["mean"] for other in beside) else "sum"
            metrics[key] = question.answer(default)
        return Rules(
            tuple(question.answer() for question in self.outputs),
            tuple(question.answer() for question in self.added),
            metrics,
            self.whole[0].answer() if self.whole else None,
        )

    def _see_losses(self, whole: Mapping, parts: Sequence[Mapping], sizes: Sequence[int]) -> None:
        if not (self.outputs or self.added or self.whole):
            self._ask(whole)
        for kind, questions in (("added", self.added), ("whole", self.whole)):
            for index, question in enumerate(questions):
                if any(len(part[kind]) != len(questions) for part in parts):
                    question.refuse("is not there in every batch")
                    continue
                value, *values = (_quotient(side[kind][index]["mean"]) for side in (whole, *parts))
                question.see(value, _added_up([p[kind][index] for p in parts]), values, sizes)
        for index, question in enumerate(self.outputs):
            # What Keras itself says of all rows is the measure.
            value, *values = (side["losses"][index] for side in (whole, *parts))
            question.see(value, _added_up([p["outputs"][index] for p in parts]), values, sizes)

    def _ask(self, whole: Mapping) -> None:
        rounding = self.probe.rounding
        for output, forms in zip(self.probe.objective.outputs, whole["outputs"], strict=False):
            self.outputs.append(Question(f"loss {output.name!r}", tuple(forms), ROW_ALONE))
        for index in range(len(whole["added"])):
            what = f"number {index + 1} that layers give to add_loss"
            self.added.append(Question(what, ("mean", "sum"), MEAN_OR_SUM, rounding))
        if whole["whole"]:
            what = f"compute_loss of {type(self.model).__name__}"
            self.whole.append(Question(what, ("mean", "sum"), MEAN_OR_SUM, rounding))

    def _see_metrics(self, whole: Mapping, parts: Sequence[Mapping], sizes: Sequence[int]) -> None:
        for index, variable in enumerate(self.variables):
            if question := self.metrics.get(id(variable)):
                values = [np.asarray(part["metrics"][index], float) for part in parts]
                shares = [v * size / self.count for v, size in zip(values, sizes, strict=True)]
                added_up: dict[Rule, np.ndarray] = {
                    "sum": np.sum(values, 0),
                    "mean": np.sum(shares, 0),
                }
                question.see(whole["metrics"][index], added_up, values, sizes)

    def _see_again(self, whole: Mapping, again: Mapping, starts: Sequence[np.ndarray]) -> None:
        for index, variable in enumerate(self.variables):
            if question := self.metrics.get(id(variable)):
                before, after = (np.asarray(v[index], float) for v in (starts, again["metrics"]))
                moved, first = after - before, np.asarray(whole["metrics"][index], float)
                if not (np.isfinite(first).all() and np.isfinite(before).all()):
                    continue
                largest = max(np.abs(v).max(initial=0.0) for v in (before, after, first))
                if not np.abs(moved - first).max(initial=0.0) <= 1e-4 * largest:
                    question.refuse("changes by another number where it has counted before")
        for kind, questions in (("added", self.added), ("whole", self.whole)):
            for question, one, other in zip(questions, whole[kind], again[kind], strict=False):
                values = [_quotient(side["mean"]) for side in (one, other)]
                if np.ptp(values) > question.tolerance * np.abs(values).max():
                    question.refuse("is another number each time: it is drawn at random")

    def _see_constants(self) -> None:
        """Refuses variables of a metric that counts in others, and may read what these hold.

        Parts count from zeros in all variables, so a constant would be read as 0.
        """
        for metric in {id(owner): owner for owner in self._owners.values()}.values():
            counts = any(id(variable) in self.probe.assigned for variable in metric.variables)
            for variable in metric.variables:
                question = self.metrics.get(id(variable))
                if question is None or not counts or id(variable) in self.probe.assigned:
                    continue
                if np.asarray(tf.convert_to_tensor(variable.value)).any():
                    question.refuse(
                        "holds a constant, and replicas and micro-batches count from 0 in all"
                        " variables (keep it in an attribute that is no variable)"
                    )

    def _check_rows_alone(
        self, y_pred: Nested, rows: Sequence[np.ndarray], parts: Sequence[Mapping]
    ) -> None:
        for chosen, part in zip(rows, parts, strict=True):
            if not self.probe.alike(
                _plain(keras.tree.flatten(_taken(y_pred, chosen))), part["own"]
            ):
                raise ConfigError(
                    f"the outputs of network {self.model.network.name!r} for a row change with the"
                    " other rows of the batch, so replicas and micro-batches would give others;"
                    f" compute each row by itself, or {ONE_DEVICE}"
                )

    def _check_logs(self, numbers: Mapping) -> None:
        """Refuses logs of `compute_metrics` that are not results of metrics."""
        [logs], [results] = numbers["logs"], numbers["results"]
        if not logs:
            return
        for name in {**logs, **results}:
            same = name in logs and name in results and np.allclose(logs[name], results[name])
            if not same:
                raise ConfigError(
                    f"{type(self.model).__name__} overrides compute_metrics, whose log {name!r} is"
                    " not what a metric of that name has counted, but of one batch; count it in a"
                    f" keras.metrics.Metric, or {ONE_DEVICE}"
                )


def _plain(value: Nested) -> Nested:
    return keras.tree.map_structure(
        lambda part: part.numpy() if isinstance(part, tf.Tensor) else part, value
    )


def _taken(batch: Nested, rows: np.ndarray) -> Nested:
    return map_parts(lambda part: tf.gather(part, rows), batch)


def _quotient(pair: tuple) -> float:
    numerator, denominator = pair
    return float(numerator / denominator) if denominator else 0.0


def _added_up(parts: Sequence[Mapping]) -> dict[Rule, float]:
    """Returns what the terms of parts make together, by each rule that all parts have."""
    return {
        rule: _quotient((sum(p[rule][0] for p in parts), sum(p[rule][1] for p in parts)))
        if all(rule in part for part in parts)
        else float("inf")
        for rule in parts[0]
    }


def _as_outputs(y: Any, y_pred: Any) -> tf.Tensor | None:
    """Returns targets in the form of outputs, if there is one output and they can be."""
    if not (isinstance(y, tf.Tensor) and isinstance(y_pred, tf.Tensor)):
        return None
    if y.shape.is_compatible_with(y_pred.shape):
        return tf.cast(y, y_pred.dtype)
    if y.shape.rank == y_pred.shape.rank and y.shape[-1] == 1:
        y = tf.squeeze(y, -1)
    if y.shape.rank == y_pred.shape.rank - 1 and not y.dtype == tf.string:
        return tf.one_hot(tf.cast(y, tf.int32), y_pred.shape[-1], dtype=y_pred.dtype)
    return None
