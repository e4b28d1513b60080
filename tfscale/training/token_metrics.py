"""Metrics of a language model: what they count of targets, logits and weights.

A token counts or does not: one whose weight is 0, whose target is negative or that a mask of the
network leaves out is left out of every metric, and so is the padding of a batch. What replicas and
micro-batches count from zero is added up; on one device a metric goes on from what it holds.

Shapes: b rows of a part of a batch, T tokens, V vocabulary.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import one_line
from tfscale.compat.keras_metrics import (
    compiled_results,
    expects_probabilities,
    has_compiled_metrics,
    make_compiled_metrics,
    plain_and_weighted,
    takes_weights,
    updated,
)
from tfscale.compat.keras_trainer import is_own_of_keras
from tfscale.distribution.workers import Workers
from tfscale.errors import ConfigError
from tfscale.training.fit.tensor_conditions import refuse_condition
from tfscale.training.metric_sums import add_to_variables, constant_of

RESERVED = (
    "gradient_norm",
    "input_wait",
    "learning_rate",
    "loss",
    "loss_scale",
    "overflows",
    "seconds",
    "tokens",
    "tokens_per_second",
)
"""Names of logs of `fit` that a metric would overwrite."""
ROWS, LENGTH = 3, 5
"""Size of the made-up batches that metrics are tried on."""
HALVES = (slice(1), slice(1, None))
"""The two parts that such a batch is cut into."""
TOLERANCE = 1e-4
"""Largest difference between a metric's counts of a whole batch and of its parts, relative to the
counts: rounding makes far less."""


class TokenMetrics:
    """Updates the metrics that a `LanguageModel` was compiled with.

    Args:
        model: compiled, with one output.
        workers: the processes of its strategy.
        in_parts: whether batches are cut over replicas or micro-batches anywhere.
        xla: whether XLA compiles the step.
    """

    def __init__(self, model: keras.Model, workers: Workers, in_parts: bool, xla: bool):
        self.model, self.workers, self.in_parts, self.xla = model, workers, in_parts, xla
        self.variables: list[keras.Variable] = []
        self._plain: list[keras.metrics.Metric] = []
        self._weighted: list[keras.metrics.Metric] = []
        self._names: list[str] = []
        self._results = tf.function(lambda: list(compiled_results(model).values()))

    @classmethod
    def of(
        cls, model: keras.Model, workers: Workers, in_parts: bool, xla: bool
    ) -> "TokenMetrics | None":
        """Returns the metrics of a compiled model; None if it was given none."""
        return cls(model, workers, in_parts, xla) if has_compiled_metrics(model) else None

    def build(self, vocabulary_size: int, strategy: tf.distribute.Strategy) -> None:
        """Makes and checks the metrics, once; call it before anything is traced.

        Args:
            vocabulary_size: V.
            strategy: that of the model.

        Raises:
            ConfigError: names a metric that cannot be right, and what would be.
        """
        if self.variables:
            return
        with strategy.scope():
            make_compiled_metrics(
                self.model,
                keras.KerasTensor((None, None), "int32"),
                keras.KerasTensor((None, None, vocabulary_size), "float32"),
            )
        self._plain, self._weighted = plain_and_weighted(self.model)
        self._names = list(compiled_results(self.model))
        for name, metric in zip(self._names, [*self._plain, *self._weighted], strict=True):
            check_metric(name, metric, vocabulary_size, self.in_parts)
            if not is_own_of_keras(metric):
                check_compiled(name, metric, vocabulary_size, self.xla)
        every = [v for m in (*self._plain, *self._weighted) for v in m.variables]
        # A metric may be given twice, with and without weights.
        self.variables = list({id(variable): variable for variable in every}.values())

    def changes(
        self, targets: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor, whole: bool
    ) -> list[tf.Tensor]:
        """Returns what each variable becomes, or what some rows add to it; assigns nothing.

        Args:
            targets: ids (b, T) int32.
            logits: (b, T, V) float32.
            weights: (b, T) float32, 0 for what does not count, masked tokens included.
            whole: whether the rows are a whole batch: the metrics then go on from what they hold.
                Else they count from zero.
        """
        if whole:
            start = [tf.convert_to_tensor(variable.value) for variable in self.variables]
        else:
            start = self.zeros()
        # The weights hold the mask already; without it, no metric counts it twice.
        logits = tf.identity(logits)
        counted = tf.cast(weights > 0, tf.float32)

        def update() -> None:
            for metric in self._plain:
                metric.update_state(targets, logits, sample_weight=counted)
            for metric in self._weighted:
                metric.update_state(targets, logits, sample_weight=weights)

        return updated(self.variables, start, update)

    def zeros(self) -> list[tf.Tensor]:
        """Returns a zero for each variable."""
        return [tf.zeros(v.shape, v.dtype) for v in self.variables]

    def apply(self, changes: Sequence[tf.Tensor], whole: bool) -> None:
        """Gives the metrics what `changes` computed, summed over all parts of a batch."""
        if not whole:
            add_to_variables(self.variables, changes, self.workers)
            return
        for variable, value in zip(self.variables, changes, strict=True):
            variable.assign(value)

    def reset(self) -> None:
        """Has the metrics begin anew."""
        for metric in (*self._plain, *self._weighted):
            metric.reset_state()

    def logs(self) -> dict[str, float]:
        """Returns the metrics' results, by name, as callbacks get them."""
        found: dict[str, float] = {}
        for name, value in zip(self._names, self._results(), strict=True):
            # Keras gives the entries of a dictionary by their own names.
            entries = value if isinstance(value, dict) else {name: value}
            found |= {key: _number(entry) for key, entry in entries.items()}
        return found


def _number(value: tf.Tensor) -> float:
    array = np.asarray(value)
    return array if array.ndim else float(array)  # type: ignore[return-value]


def check_metric(
    name: str, metric: keras.metrics.Metric, vocabulary_size: int, in_parts: bool
) -> None:
    """Tries a metric on a made-up batch, with none of its state changed.

    Args:
        name: in the logs.
        metric: has its variables.
        vocabulary_size: V.
        in_parts: whether its counts must add up over parts of a batch.

    Raises:
        ConfigError: says what it does wrong.
    """
    if name in RESERVED:
        raise ConfigError(f"metric {name!r} has the name of a log of fit; give it another name")
    if expects_probabilities(metric):
        raise ConfigError(
            f"metric {name!r} takes probabilities, and the network gives logits; make it with"
            " from_logits=True"
        )
    if not takes_weights(metric):
        raise ConfigError(
            f"metric {name!r} cannot leave out padding: its update_state takes no sample_weight;"
            " define update_state(self, y_true, y_pred, sample_weight=None)"
        )
    batch, other = made_up_batches(vocabulary_size)
    try:
        if in_parts and (constant := constant_of(metric, *batch)) is not None:
            raise ConfigError(
                f"metric {name!r} has the variable {constant.name!r}, which holds a constant, and"
                " replicas and micro-batches count from 0 in all variables: keep it in an attribute"
                " that is no variable, or train on one device with micro_batches=1"
            )
        # On one device a metric reads what its variables hold, which need not be 0.
        held = None if in_parts else [np.asarray(v) for v in metric.variables]
        whole, changed = (counts_of(metric, one, start=held) for one in (batch, other))
        halves = [[part[rows] for part in batch] for rows in HALVES]
        first, second = (counts_of(metric, half) for half in halves)
        # What a metric makes of a part must not depend on what it holds, either.
        after_both = counts_of(metric, halves[1], start=first)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ConfigError(
            f"metric {name!r} cannot be computed of targets (B, T), logits (B, T, V) and weights"
            f" (B, T), of which a function makes one value a token, (B, T):"
            f" {one_line(error)}"
        ) from error
    if not _alike(whole, changed):
        raise ConfigError(
            f"metric {name!r} counts tokens of weight 0, such as padding: its value changes with"
            " them. A function must return one value a token, (B, T); a class must use the"
            " sample_weight (B, T) of its update_state"
        )
    added = [a + b for a, b in zip(first, second, strict=True)]
    if in_parts and not (_alike(whole, added) and _alike(whole, after_both)):
        raise ConfigError(
            f"metric {name!r} does not add up over replicas and micro-batches: what it counts of a"
            " batch is not the sum of what it counts of two parts. Keep sums over tokens in its"
            " variables, or train on one device with micro_batches=1"
        )


def check_compiled(
    name: str, metric: keras.metrics.Metric, vocabulary_size: int, xla: bool
) -> None:
    """Compiles a metric by itself, as a step will.

    Raises:
        ConfigError: it cannot be compiled.
    """
    batch, _ = made_up_batches(vocabulary_size)
    try:
        tf.function(lambda *parts: counts_tensors(metric, parts), jit_compile=xla)(*batch)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        refuse_condition(error)
        hint = "" if not xla else "; compile(xla=False) takes Python code and all operations"
        reason = one_line(error).removeprefix(f"{type(error).__name__}: ")
        raise ConfigError(
            f"metric {name!r} cannot be compiled{' by XLA' if xla else ''}"
            f" ({type(error).__name__}: {reason}){hint}"
        ) from error


def made_up_batches(vocabulary_size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns two batches (targets, logits, weights) that differ in tokens of weight 0 alone."""
    random = np.random.default_rng(0)
    weights = random.random((ROWS, LENGTH)).astype("float32")
    weights[0, 1] = weights[1, 3:] = 0

    def made(right: float) -> list[np.ndarray]:
        targets = random.integers(0, vocabulary_size, (ROWS, LENGTH)).astype("int32")
        logits = random.normal(size=(ROWS, LENGTH, vocabulary_size)).astype("float32")
        chosen = random.random((ROWS, LENGTH, 1)) < right
        one_hot = np.arange(vocabulary_size) == targets[..., None]
        return [targets, logits + np.float32(9) * (chosen & one_hot)]

    # Often right, and hardly ever, so that whatever is counted differs.
    one, other = made(0.7), made(0.1)
    mixed = []
    for first, second in zip(one, other, strict=True):
        counts = (weights > 0).reshape(weights.shape + (1,) * (first.ndim - 2))
        mixed.append(np.where(counts, first, second))
    return [*one, weights], [*mixed, weights]


def counts_of(
    metric: keras.metrics.Metric,
    batch: Sequence[np.ndarray],
    start: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Returns what a metric's variables hold after a batch; assigns nothing.

    Args:
        metric: has its variables.
        batch: targets, logits and weights.
        start: what the variables hold before it; None is zeros.
    """
    return [value.numpy() for value in counts_tensors(metric, batch, start)]


def counts_tensors(
    metric: keras.metrics.Metric,
    batch: Sequence[np.ndarray | tf.Tensor],
    start: Sequence[np.ndarray] | None = None,
) -> list[tf.Tensor]:
    """Returns what `counts_of` does, as tensors."""
    targets, logits, weights = (tf.convert_to_tensor(part) for part in batch)
    before = [tf.zeros(v.shape, v.dtype) for v in metric.variables]
    if start is not None:
        before = [tf.constant(value) for value in start]

    def update() -> None:
        metric.update_state(targets, logits, sample_weight=weights)

    return updated(metric.variables, before, update)


def _alike(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE) for a, b in pairs)
