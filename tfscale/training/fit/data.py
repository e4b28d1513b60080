"""The batches that `fit` reads, from the beginning or from where a training goes on.

Shapes: B rows of a global batch, N rows of arrays, T tokens.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tensorflow as tf
from numpy.typing import ArrayLike

from tfscale.distribution.workers import Workers
from tfscale.models.outputs import Vocabulary
from tfscale.training.batches import Batched, FitInput, as_batches, check_divisible
from tfscale.training.feeding import count_batches, input_contexts, training_iterator
from tfscale.training.fit.row_order import batches_read
from tfscale.training.stateful import check_batches
from tfscale.training.step import TrainStep


@dataclass(frozen=True)
class FitSource:
    """The data that `fit` was given; see `LanguageModel.fit`.

    Attributes:
        x: batched dataset, arrays (N, T), or a function of a worker's input context.
        y: targets (N, T) where `x` is an array, else None.
        sample_weight: weights of arrays, or None.
        batch_size: rows of the global batch where `x` is an array.
        shuffle: whether the rows of arrays are shuffled.
        steps_per_epoch: optimizer steps of an epoch; None takes one pass over the data.
    """

    x: FitInput
    y: ArrayLike | None = None
    sample_weight: ArrayLike | None = None
    batch_size: int = 32
    shuffle: bool = True
    steps_per_epoch: int | None = None


class FitData:
    """The data of `fit`, checked, as batches of one shape.

    Args:
        source: what was given.
        step: the step that reads the batches.
        workers: the workers of this training.
        vocabulary: gives the ids that exist for windows of T tokens; None takes all ids as they
            are.

    Attributes:
        steps_per_epoch: optimizer steps of an epoch.

    Raises:
        ConfigError: a batch that cannot be cut over replicas and micro-batches.
        DataError: ids that do not exist, or shapes that do not belong together.
    """

    def __init__(
        self,
        source: FitSource,
        step: TrainStep,
        workers: Workers,
        vocabulary: Callable[[int], Vocabulary] | None,
    ):
        self._source, self._step, self._workers = source, step, workers
        self._vocabulary = vocabulary
        x = source.x
        self._is_share = callable(x)
        self._given = [x(context) for context in input_contexts(workers)] if callable(x) else [x]
        datasets = [self._read(part) for part in self._given]
        rows = datasets[0].element_spec[0].shape[0] * (workers.count if self._is_share else 1)
        check_divisible(rows, step.replicas, step.options.micro_batches)
        check_batches(step.options, rows, source.shuffle and self._are_arrays)
        self._pass_batches = count_batches(datasets[0]) if self._are_arrays else 0
        self._whole_passes = source.steps_per_epoch is None
        self.steps_per_epoch = source.steps_per_epoch or 0
        if source.steps_per_epoch is None:
            self.steps_per_epoch = self._pass_batches or sum(map(count_batches, datasets))
        if self._whole_passes or self._are_arrays:
            datasets = [dataset.repeat() for dataset in datasets]
        self._datasets = datasets

    @property
    def _are_arrays(self) -> bool:
        return self._source.y is not None

    def _read(self, part: Batched, skip: int = 0) -> tf.data.Dataset:
        source = self._source
        return as_batches(
            part,
            source.y,
            source.sample_weight,
            batch_size=source.batch_size,
            shuffle_seed=self._step.options.seed if source.shuffle else None,
            vocabulary=self._vocabulary,
            skip=skip,
        )

    def iterator(self, epochs_before: int, steps_before: int, ahead: int) -> Iterator:
        """Returns an iterator over the batches that come next.

        Args:
            epochs_before: epochs of this `fit` that a callback has found done.
            steps_before: steps of the epoch to go on with that are done.
            ahead: batches to hold ready.
        """
        datasets = self._datasets
        if not self._are_arrays:
            if steps_before:
                datasets = [dataset.skip(steps_before // len(datasets)) for dataset in datasets]
        else:
            # Shuffles go on over calls of fit, so all steps of the model count; rows in order begin
            # anew with each.
            in_this_fit = epochs_before * self.steps_per_epoch + steps_before
            steps = int(self._step.step.numpy()) if self._source.shuffle else in_this_fit
            skip = batches_read(steps, steps_before, self._pass_batches, self._whole_passes)
            if skip:
                datasets = [self._read(part, skip) for part in self._given]
        return training_iterator(self._step, self._workers, datasets, self._is_share, ahead)
