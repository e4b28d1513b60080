"""Makes data of `fit` into batches of one shape: (ids, targets[, weights]), each (B, T).

A last batch that is smaller is padded with rows of weight 0, so that every batch can be cut evenly
over replicas and micro-batches and compiled once; the loss divides by the tokens that count, so the
padding changes nothing. Targets that are negative become targets of weight 0 here, so that no step
sees an id that does not exist.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from tfscale.distribution.workers import Workers
from tfscale.errors import ConfigError, DataError
from tfscale.models.outputs import Vocabulary
from tfscale.training.fit.arrays import as_arrays, cleaned_arrays
from tfscale.training.fit.dataset_checks import (
    check_alike,
    check_spec,
    cleaned,
    is_fixed,
    largest_shape,
)
from tfscale.training.fit.parts import one_tensor_each
from tfscale.training.fit.row_order import row_batches

Batched: TypeAlias = (
    tf.data.Dataset | ArrayLike | Mapping[str, ArrayLike] | Iterator | keras.utils.PyDataset
)
"""Batches (ids, targets[, weights]), or ids (N, T)."""
FitInput: TypeAlias = Batched | Callable[[tf.distribute.InputContext], tf.data.Dataset]
"""The data that `fit` takes, or a function of a worker's input context."""


def as_batches(
    x: Batched,
    y: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    *,
    batch_size: int = 32,
    shuffle_seed: int | None = None,
    vocabulary: Callable[[int], Vocabulary] | None = None,
    skip: int = 0,
    shape: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Makes a dataset of (ids, targets[, weights]) batches of one fixed shape.

    Args:
        x: a batched `tf.data.Dataset` of (ids, targets) or (ids, targets, weights), or ids (N, T).
            Shorter rows of a dataset are padded to its longest; where its length is not known, to
            those of its first batch.
        y: targets (N, T) where `x` is an array; a negative one counts as one of weight 0.
        sample_weight: weights (N,), (N, 1) or (N, T) where `x` is an array.
        batch_size: rows of a batch where `x` is an array.
        shuffle_seed: seed of the shuffle of arrays' rows, anew in each pass; None keeps the order.
        vocabulary: gives the ids that exist for windows of T tokens, such as those that
            `check_logits` found; None takes all ids as they are.
        skip: batches of arrays that were read before; with any, the dataset goes on from there
            without an end.
        shape: (B, T) that the batches of a dataset get, at least theirs; None finds it, and may
            read the first batch for it.

    Returns:
        A dataset with fixed shapes (B, T): int32, int32 and, where not every token counts, float32.
        Without a `vocabulary`, a dataset that is like this already is returned as it is.

    Raises:
        DataError: no data, wrong ranks or types, or rows of different lengths. What is wrong in a
            dataset's batch is raised when that is read, within
            `tfscale.training.fit.input_errors.plain_errors`.

    Example:
        dataset = as_batches(ids, targets, batch_size=32)
    """
    if isinstance(x, tf.data.Dataset):
        if y is not None or sample_weight is not None:
            raise ConfigError(
                "y and sample_weight are part of the dataset: give batches of (ids, targets[,"
                " weights])"
            )
        return _as_fixed(one_tensor_each(x), vocabulary, shape)
    arrays = as_arrays(x, y, sample_weight)
    count, length = arrays[0].shape
    if vocabulary is not None:
        arrays = cleaned_arrays(arrays, vocabulary(length))
    rows = min(batch_size, count)
    dataset = row_batches(arrays, rows, shuffle_seed, skip)
    return _padded(dataset, (rows, length), (2,) * len(arrays))


def _as_fixed(
    dataset: tf.data.Dataset,
    vocabulary: Callable[[int], Vocabulary] | None,
    shape: tuple[int, int] | None,
) -> tf.data.Dataset:
    spec = dataset.element_spec
    check_spec(spec)
    if vocabulary is None and is_fixed(spec) and shape in (None, tuple(spec[0].shape)):
        return dataset
    if shape is None:
        rows, length, ranks = largest_shape(dataset)
    else:
        rows, length = shape
        check_alike([part.shape for part in spec])
        ranks = tuple(part.shape.rank for part in spec)
    ids = None if vocabulary is None else vocabulary(length)
    return _padded(dataset, (rows, length), ranks, ids)


def _padded(
    dataset: tf.data.Dataset,
    shape: tuple[int, int],
    ranks: tuple[int, ...],
    vocabulary: Vocabulary | None = None,
) -> tf.data.Dataset:
    def clean(number: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        return cleaned(number, tuple(batch), shape, ranks, vocabulary)

    return dataset.enumerate(1).map(clean, num_parallel_calls=tf.data.AUTOTUNE)


def check_divisible(global_batch_size: int, replicas: int, micro_batches: int) -> None:
    """Checks that a batch can be cut evenly.

    Raises:
        ConfigError: it cannot; the message names the nearest sizes that can.
    """
    unit = replicas * micro_batches
    if global_batch_size % unit:
        below, above = global_batch_size // unit * unit, (global_batch_size // unit + 1) * unit
        near = f"{below} or {above}" if below else str(above)
        raise ConfigError(
            f"global batch size {global_batch_size} is not divisible by replicas x micro_batches = "
            f"{replicas} x {micro_batches} = {unit}; {near} would be"
        )


def worker_share(global_batches: tf.data.Dataset, workers: Workers) -> tf.data.Dataset:
    """Returns this worker's rows of every global batch: worker i of N takes the i-th N-th.

    Every worker must be given the same batches in the same order, so a shuffle needs a seed.
    """
    if workers.count == 1:
        return global_batches
    rows = global_batches.element_spec[0].shape[0] // workers.count
    first = workers.index * rows
    return global_batches.map(
        lambda *batch: tuple(part[first : first + rows] for part in batch),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def distribute(
    share: tf.data.Dataset, workers: Workers
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Returns a worker's share as its replicas read it: each takes its slice, in order."""
    strategy = workers.strategy
    local = strategy.num_replicas_in_sync // workers.count
    if strategy.num_replicas_in_sync == 1:
        return share
    options = tf.data.Options()
    # The shares are cut already; TensorFlow must not deal out files or elements once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    share = share.with_options(options)
    if workers.count > 1:
        return strategy.distribute_datasets_from_function(lambda _: cut_batches(share, local))
    rows = share.element_spec[0].shape[0] // local
    distributed = strategy.experimental_distribute_dataset(share)
    for spec in tf.nest.flatten(distributed.element_spec, expand_composites=True):
        if spec.shape.rank and spec.shape[0] not in (rows, None):
            raise DataError(
                f"the strategy cuts batches into {spec.shape[0]} rows a replica, not {rows}"
            )
    return distributed


def cut_batches(batches: tf.data.Dataset, parts: int) -> tf.data.Dataset:
    """Cuts each batch (B, T) into `parts` batches (B / parts, T), in order.

    Raises:
        ConfigError: B is not divisible.
    """
    if parts == 1:
        return batches
    check_divisible(batches.element_spec[0].shape[0], parts, 1)

    def cut(*batch: tf.Tensor) -> tf.data.Dataset:
        rows = batch[0].shape[0] // parts
        cuts = tuple(tf.reshape(tensor, (parts, rows, tensor.shape[1])) for tensor in batch)
        return tf.data.Dataset.from_tensor_slices(cuts)

    return batches.flat_map(cut)
