"""The batches that `fit` reads, from the beginning or from where a training goes on.

Shapes: B rows of a global batch, N rows of arrays, T tokens.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfscale.distribution.workers import Workers
from tfscale.models.outputs import Vocabulary
from tfscale.training.batches import as_batches, check_divisible
from tfscale.training.feeding import count_batches, input_contexts, training_iterator
from tfscale.training.fit.row_order import batches_read
from tfscale.training.stateful import check_batches
from tfscale.training.step import TrainStep


class FitData:
    """What `fit` was given to train on, checked, as batches of one shape.

    Args:
        x: batched dataset, arrays (N, T), or a function of a worker's input context; see
            `LanguageModel.fit`.
        y: targets (N, T) where `x` is an array, else None.
        sample_weight: weights of arrays, or None.
        batch_size: rows of the global batch where `x` is an array.
        shuffle: whether the rows of arrays are shuffled.
        steps_per_epoch: optimizer steps of an epoch; None takes one pass over the data.
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
        x: Any,
        y: Any,
        sample_weight: Any,
        *,
        batch_size: int,
        shuffle: bool,
        steps_per_epoch: int | None,
        step: TrainStep,
        workers: Workers,
        vocabulary: Callable[[int], Vocabulary] | None,
    ):
        self._step, self._workers, self._is_share = step, workers, callable(x)
        self._given = [x(context) for context in input_contexts(workers)] if self._is_share else [x]
        self._targets, self._weights, self._vocabulary = y, sample_weight, vocabulary
        self._batch_size, self._shuffle = batch_size, shuffle
        datasets = [self._read(part) for part in self._given]
        rows = datasets[0].element_spec[0].shape[0] * (workers.count if self._is_share else 1)
        check_divisible(rows, step.replicas, step.options.micro_batches)
        check_batches(step.options, rows, shuffle and self._are_arrays)
        self._pass_batches = count_batches(datasets[0]) if self._are_arrays else 0
        self._whole_passes = steps_per_epoch is None
        if steps_per_epoch is None:
            steps_per_epoch = self._pass_batches or sum(map(count_batches, datasets))
        self.steps_per_epoch = steps_per_epoch
        if self._whole_passes or self._are_arrays:
            datasets = [dataset.repeat() for dataset in datasets]
        self._datasets = datasets

    @property
    def _are_arrays(self) -> bool:
        return self._targets is not None

    def _read(self, part: Any, skip: int = 0) -> tf.data.Dataset:
        return as_batches(
            part,
            self._targets,
            self._weights,
            batch_size=self._batch_size,
            shuffle=self._shuffle,
            seed=self._step.options.seed,
            vocabulary=self._vocabulary,
            skip=skip,
        )

    def iterator(self, epochs_before: int, steps_before: int, ahead: int) -> Any:
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
            steps = int(self._step.step.numpy()) if self._shuffle else in_this_fit
            skip = batches_read(steps, steps_before, self._pass_batches, self._whole_passes)
            if skip:
                datasets = [self._read(part, skip) for part in self._given]
        return training_iterator(self._step, self._workers, datasets, self._is_share, ahead)
