"""The batches that `fit` reads, from the beginning or from where a training goes on.

Shapes: B rows of a global batch, N rows of arrays, T tokens.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfscale.distribution.workers import Workers
from tfscale.errors import ConfigError
from tfscale.models.outputs import Vocabulary
from tfscale.training.batches import Batched, FitInput, as_batches, check_divisible
from tfscale.training.feeding import count_batches, input_contexts, training_iterator
from tfscale.training.fit.class_weight import check_class_weight, with_class_weight
from tfscale.training.fit.generated import Generated, is_generated
from tfscale.training.fit.row_order import batches_read
from tfscale.training.stateful import check_batches
from tfscale.training.step import TrainStep


@dataclass(frozen=True)
class FitSource:
    """The data that `fit` was given; see `LanguageModel.fit`.

    Attributes:
        x: batched dataset, arrays (N, T), what makes batches in Python, or a function of a worker's
            input context.
        y: targets (N, T) where `x` is an array, else None.
        sample_weight: weights of arrays, or None.
        batch_size: rows of the global batch where `x` is an array.
        shuffle: whether the rows of arrays are shuffled.
        steps_per_epoch: optimizer steps of an epoch; None takes one pass over the data.
        class_weight: weights by token id, or None.
        epochs: how many there will be.
    """

    x: FitInput
    y: ArrayLike | None = None
    sample_weight: ArrayLike | None = None
    batch_size: int = 32
    shuffle: bool = True
    steps_per_epoch: int | None = None
    class_weight: Mapping[int, float] | None = None
    epochs: int = 1


class FitData:
    """The data of `fit`, checked, as batches of one shape.

    Args:
        source: what was given.
        step: the step that reads the batches.
        workers: the workers of this training.
        vocabulary: gives the ids that exist for windows of T tokens; None takes all ids as they
            are.

    Attributes:
        steps_per_epoch: optimizer steps of an epoch; None where the data ends when it ends.

    Raises:
        ConfigError: a batch that cannot be cut over replicas and micro-batches, or an iterator of
            unknown length for several epochs.
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
        self._generated: Generated | None = None
        if is_generated(x):
            beside = (source.y, source.sample_weight)
            self._generated = Generated(x, *beside, source.shuffle, workers)
            x = self._generated.dataset
        self._is_share = callable(x)
        self._given = [x(context) for context in input_contexts(workers)] if callable(x) else [x]
        self._table: np.ndarray | None = None
        datasets = [self._read(part) for part in self._given]
        self.length = datasets[0].element_spec[0].shape[1]
        if source.class_weight is not None:
            known = None if vocabulary is None else vocabulary(self.length).targets
            self._table = check_class_weight(source.class_weight, known)
            datasets = [with_class_weight(dataset, self._table) for dataset in datasets]
        rows = datasets[0].element_spec[0].shape[0] * (workers.count if self._is_share else 1)
        check_divisible(rows, step.replicas, step.options.micro_batches)
        check_batches(step.options, rows, source.shuffle and self._are_arrays)
        self._pass_batches = count_batches(datasets[0]) if self._are_arrays else 0
        self._whole_passes = source.steps_per_epoch is None
        self.steps_per_epoch = source.steps_per_epoch
        if source.steps_per_epoch is None:
            self.steps_per_epoch = self._count(datasets)
        if self._generated is None:
            repeated = self._whole_passes or self._are_arrays
        else:
            # Whole passes of a `PyDataset` are begun one by one.
            repeated = not self._whole_passes and self._generated.count is not None
        self._datasets = [dataset.repeat() for dataset in datasets] if repeated else datasets
        self._iterator: Iterator | None = None

    def _count(self, datasets: list[tf.data.Dataset]) -> int | None:
        """Returns the batches of a pass; None of an iterator, which ends when it ends."""
        if self._generated is None:
            return self._pass_batches or sum(map(count_batches, datasets))
        if self._generated.count is not None:
            return self._generated.count
        if not self._generated.once:
            raise ConfigError(
                "the PyDataset has no end (num_batches is None): give steps_per_epoch"
            )
        if self._source.epochs > 1:
            raise ConfigError(
                f"an iterator is read once, and there are {self._source.epochs} epochs: give"
                " steps_per_epoch, a keras.utils.PyDataset or"
                " tf.data.Dataset.from_generator(function, output_signature=...)"
            )
        return None

    @property
    def _are_arrays(self) -> bool:
        return self._source.y is not None

    def _read(self, part: Batched, skip: int = 0) -> tf.data.Dataset:
        source = self._source
        dataset = as_batches(
            part,
            source.y,
            source.sample_weight,
            batch_size=source.batch_size,
            shuffle_seed=self._step.options.seed if source.shuffle else None,
            vocabulary=self._vocabulary,
            skip=skip,
            shape=None if self._generated is None else self._generated.shape,
        )
        return dataset if self._table is None else with_class_weight(dataset, self._table)

    @contextlib.contextmanager
    def epoch(self, epochs_before: int, steps_before: int, ahead: int) -> Iterator[Iterator]:
        """Gives the iterator over the batches of an epoch for the block.

        Args:
            epochs_before: epochs of this `fit` that are done, or that a callback has found done.
            steps_before: steps of the epoch that are done.
            ahead: batches to hold ready.
        """
        anew = self._generated is not None and not self._generated.once and self._whole_passes
        if self._generated is not None:
            self._generated.begin_epoch()
        try:
            if self._iterator is None or anew:
                self._iterator = self.iterator(epochs_before, steps_before, ahead)
            yield self._iterator
        finally:
            if self._generated is not None:
                self._generated.end_epoch()

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
            assert self.steps_per_epoch is not None
            in_this_fit = epochs_before * self.steps_per_epoch + steps_before
            steps = int(self._step.step.numpy()) if self._source.shuffle else in_this_fit
            skip = batches_read(steps, steps_before, self._pass_batches, self._whole_passes)
            if skip:
                datasets = [self._read(part, skip) for part in self._given]
        return training_iterator(self._step, self._workers, datasets, self._is_share, ahead)
