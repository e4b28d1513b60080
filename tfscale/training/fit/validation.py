"""The validation of `fit`: its data, its epochs, and the batches that `evaluate` reads.

Shapes: N rows of arrays, B rows of a batch, T tokens.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfscale.distribution.workers import Workers
from tfscale.errors import ConfigError
from tfscale.models.outputs import Vocabulary
from tfscale.training.batches import Batched, as_batches, distribute, worker_share
from tfscale.training.feeding import validation_batches
from tfscale.training.fit.arrays import as_arrays
from tfscale.training.fit.generated import Generated, is_generated


class EvaluationData:
    """Batches to evaluate on, once or after each epoch.

    Args:
        data: a dataset, (x, y[, sample_weight]), or what makes batches in Python.
        batch_size: rows of a batch of arrays.
        steps: batches of a pass; None takes all.
        workers: the processes of the strategy.
        vocabulary: as in `as_batches`.
        passes: how often it will be read. What comes but once is then kept in memory, so that every
            pass reads the same.

    Attributes:
        length: T.
        count: batches of a pass; None where nobody knows.

    Raises:
        ConfigError: it has no end.
        DataError: as `as_batches`.
    """

    def __init__(
        self,
        data: Batched | Sequence[ArrayLike],
        batch_size: int,
        steps: int | None,
        workers: Workers,
        vocabulary: Callable[[int], Vocabulary] | None,
        passes: int = 1,
    ):
        self._generated: Generated | None = None
        x, *beside = data if isinstance(data, tuple) else (data,)
        if is_generated(x):
            y, sample_weight = [*beside, None, None][:2]
            self._generated = Generated(x, y, sample_weight, False, workers)
            if steps is None and not self._generated.once and self._generated.count is None:
                raise ConfigError("the PyDataset has no end (num_batches is None): give steps")
            rows, length = self._generated.shape
            replicas = workers.strategy.num_replicas_in_sync
            shape = (math.ceil(rows / replicas) * replicas, length)
            dataset = as_batches(self._generated.dataset, vocabulary=vocabulary, shape=shape)
            dataset = dataset.prefetch(tf.data.AUTOTUNE)
        else:
            dataset = validation_batches(data, batch_size, workers.strategy, vocabulary)
        self.length = dataset.element_spec[0].shape[1]
        cardinality = int(dataset.cardinality())
        if self._generated is not None:
            cardinality = self._generated.count or -1
        whole = cardinality if cardinality >= 0 else None
        self.count = whole if steps is None else min(steps, whole or steps)
        dataset = dataset if steps is None else dataset.take(steps)
        if self._generated is not None and self._generated.once and passes > 1:
            dataset = dataset.cache()
        self._batches = distribute(worker_share(dataset, workers), workers)

    def batches(self) -> Iterable:
        """Returns the batches of a pass as the replicas read them."""
        if self._generated is None or self._generated.once:
            return self._batches
        return self._pass(self._generated)

    def _pass(self, generated: Generated) -> Iterator:
        generated.begin_epoch()
        try:
            yield from self._batches
        finally:
            generated.end_epoch()


@dataclass(frozen=True)
class Validation:
    """The validations of a `fit`.

    Attributes:
        evaluate: function (callbacks) -> logs.
        frequency: after every how many epochs, or the numbers of the epochs, from 1.
    """

    evaluate: Callable[[keras.callbacks.CallbackList], dict[str, float]]
    frequency: int | Collection[int] = 1

    def logs(self, epoch: int, callbacks: keras.callbacks.CallbackList) -> dict[str, float]:
        """Returns the logs of a validation; none after an epoch (from 0) that has none."""
        if not is_due(epoch, self.frequency):
            return {}
        return {f"val_{name}": value for name, value in self.evaluate(callbacks).items()}


def is_due(epoch: int, frequency: int | Collection[int]) -> bool:
    """Returns whether Keras's `validation_freq` asks for a validation after an epoch, from 0."""
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency


def count_due(epochs: range, frequency: int | Collection[int]) -> int:
    """Returns how many validations there are in epochs, whose numbers begin with 0."""
    return sum(is_due(epoch, frequency) for epoch in epochs)


def check_frequency(frequency: object) -> int | Collection[int]:
    """Returns `validation_freq`: 1 or more, or epochs.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(frequency, int) and not isinstance(frequency, bool) and frequency >= 1:
        return frequency
    if isinstance(frequency, Collection) and not isinstance(frequency, str):
        return frequency
    raise ConfigError(
        "validation_freq is a number of epochs, 1 or more, or a list of epochs from 1; received"
        f" {frequency!r}"
    )


def split_arrays(
    x: object, y: object, sample_weight: object, split: float
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Returns arrays (x, y[, weights]) to train on and to validate on, the last rows, as Keras.

    Args:
        x: ids (N, T).
        y: targets (N, T).
        sample_weight: weights, or None.
        split: `validation_split`, the share of the rows that is validated on.

    Raises:
        ConfigError: `x` is no array, or one of both parts would be empty.

    Example:
        train, validation = split_arrays(x, y, None, 0.1)
    """
    if y is None:
        raise ConfigError(
            "validation_split divides arrays x and y; of a dataset or a generator give"
            " validation_data"
        )
    arrays = as_arrays(x, y, sample_weight)
    count = len(arrays[0])
    cut = math.floor(count * (1.0 - split)) if 0 < split < 1 else 0
    if not 0 < cut < count:
        raise ConfigError(
            f"validation_split={split} leaves nothing to train or to validate on, of {count} rows;"
            " give a number between 0 and 1"
        )
    return tuple(part[:cut] for part in arrays), tuple(part[cut:] for part in arrays)
