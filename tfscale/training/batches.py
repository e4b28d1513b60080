"""What a user may give to `fit`, made into batches of one shape: (ids, targets[, weights]), each (B, T).

A last batch that is smaller is padded with rows of weight 0, so that every batch can be cut evenly over replicas and
micro-batches and compiled once; the loss divides by the tokens that count, so the padding changes nothing.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfscale.errors import ConfigError, DataError
from tfscale.training.row_order import row_batches
from tfscale.training.workers import Workers


def as_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int = 32,
    shuffle: bool = False,
    seed: int = 0,
    skip: int = 0,
) -> tf.data.Dataset:
    """Makes a dataset of (ids, targets[, weights]) batches of one fixed shape.

    Args:
        x: a batched `tf.data.Dataset` of (ids, targets) or (ids, targets, weights), or ids (N, T).
        y: targets (N, T) where `x` is an array.
        sample_weight: weights (N,) or (N, T) where `x` is an array.
        batch_size: rows of a batch where `x` is an array.
        shuffle: shuffle the rows of arrays, anew in each pass.
        seed: seed of the shuffle.
        skip: batches of arrays that were read before; with any, the dataset goes on from there without an end.

    Returns:
        A dataset with fixed shapes (B, T): int32, int32 and, where not every token counts, float32. A dataset that is
        like this already is returned as it is.

    Raises:
        DataError: no data, wrong ranks or types, or rows of different lengths.

    Example:
        dataset = as_batches(ids, targets, batch_size=32)
    """
    if isinstance(x, tf.data.Dataset):
        if y is not None or sample_weight is not None:
            raise ConfigError("y and sample_weight are part of the dataset: give batches of (ids, targets[, weights])")
        dataset = x
    else:
        if y is None:
            raise ConfigError("fit needs targets: give a dataset of (ids, targets), or arrays x and y")
        x, y = np.asarray(x), np.asarray(y)
        if x.ndim != 2 or x.shape != y.shape:
            raise DataError(f"ids and targets must be (N, T) alike; received {x.shape} and {y.shape}")
        parts = (x, y) if sample_weight is None else (x, y, np.asarray(sample_weight, np.float32))
        rows, length = min(batch_size, len(x)), x.shape[1]
        dataset = row_batches(parts, rows, seed if shuffle else None, skip)
        return dataset.map(lambda *batch: _pad(batch, rows, length), num_parallel_calls=tf.data.AUTOTUNE)
    spec = dataset.element_spec
    if not isinstance(spec, tuple | list) or len(spec) not in (2, 3):
        raise DataError(f"the dataset must give (ids, targets) or (ids, targets, weights); it gives {spec}")
    wanted = zip(spec, (tf.int32, tf.int32, tf.float32), strict=False)
    if all(part.shape.rank == 2 and part.shape.is_fully_defined() and part.dtype == dtype for part, dtype in wanted):
        return dataset
    rows, length = fixed_shape(dataset)
    return dataset.map(lambda *batch: _pad(batch, rows, length), num_parallel_calls=tf.data.AUTOTUNE)


def fixed_shape(dataset: tf.data.Dataset) -> tuple[int, int]:
    """Rows and length (B, T) of a dataset's batches, from its spec or, where that is open, from its first batch."""
    shape = dataset.element_spec[0].shape
    if shape.rank is not None and shape.rank != 2:
        raise DataError(f"ids must be (B, T); the dataset gives {shape}")
    if not shape.is_fully_defined():
        first = next(iter(dataset.take(1)), None)
        if first is None:
            raise DataError("the dataset is empty: there is nothing to train on")
        shape = first[0].shape
    return int(shape[0]), int(shape[1])


def _pad(batch: tuple[tf.Tensor, ...], rows: int, length: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    ids, targets = (tf.cast(tf.convert_to_tensor(x), tf.int32) for x in batch[:2])
    weights = tf.cast(batch[2], tf.float32) if len(batch) == 3 else tf.ones_like(ids, tf.float32)
    if weights.shape.rank == 1:
        weights = tf.broadcast_to(weights[:, tf.newaxis], tf.shape(ids))
    padding = [[0, rows - tf.shape(ids)[0]], [0, 0]]
    return tuple(tf.ensure_shape(tf.pad(x, padding), (rows, length)) for x in (ids, targets, weights))


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
    """The rows of every global batch that are this worker's: worker i of N takes the i-th N-th of them.

    Every worker must be given the same batches in the same order, so a shuffle needs a seed.
    """
    if workers.count == 1:
        return global_batches
    rows = global_batches.element_spec[0].shape[0] // workers.count
    first = workers.index * rows
    return global_batches.map(
        lambda *batch: tuple(part[first : first + rows] for part in batch), num_parallel_calls=tf.data.AUTOTUNE
    )


def distribute(share: tf.data.Dataset, workers: Workers) -> Any:
    """A worker's share of the global batches as its replicas read it: each takes its slice, in order."""
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
            raise DataError(f"the strategy cuts batches into {spec.shape[0]} rows a replica, not {rows}")
    return distributed


def cut_batches(batches: tf.data.Dataset, parts: int) -> tf.data.Dataset:
    """Each batch (B, T) as `parts` batches (B / parts, T), in order.

    Raises:
        ConfigError: B is not divisible.
    """
    if parts == 1:
        return batches
    check_divisible(batches.element_spec[0].shape[0], parts, 1)

    def cut(*batch: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(
            tuple(tf.reshape(part, (parts, part.shape[0] // parts, part.shape[1])) for part in batch)
        )

    return batches.flat_map(cut)
