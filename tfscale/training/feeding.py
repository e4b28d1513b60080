"""Brings the batches of `fit` to the step, in one process, in many, or in workers of one."""

import math
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
from numpy.typing import ArrayLike

from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.distribution.workers import Workers
from tfscale.errors import ConfigError
from tfscale.models.outputs import Vocabulary
from tfscale.training.asynchronous import AsynchronousStep
from tfscale.training.batches import Batched, as_batches, distribute, worker_share
from tfscale.training.fit.arguments import as_validation
from tfscale.training.fit.input_errors import plain_errors
from tfscale.training.step import TrainStep


def input_contexts(workers: Workers) -> list[tf.distribute.InputContext]:
    """Returns contexts of the readers that this process feeds: itself, or the workers it drives."""
    drives_workers = is_asynchronous(workers.strategy)
    return [
        tf.distribute.InputContext(
            num_input_pipelines=workers.readers,
            input_pipeline_id=index,
            num_replicas_in_sync=workers.strategy.num_replicas_in_sync,
        )
        for index in (range(workers.readers) if drives_workers else [workers.index])
    ]


def training_iterator(
    step: TrainStep,
    workers: Workers,
    datasets: Sequence[tf.data.Dataset],
    is_share: bool,
    ahead: int,
) -> Iterator:
    """Returns the iterator that `step.run` takes its batches from.

    Args:
        step: the step that trains.
        workers: the processes of its strategy.
        datasets: global batches, or with `is_share` the batches of each reader that
            `input_contexts` named.
        is_share: whether the datasets are the readers' shares already.
        ahead: batches that are made ready in advance: those of a call, however busy the step keeps
            the cores.
    """
    if isinstance(step, AsynchronousStep):
        if not is_share:
            readers = range(workers.readers)
            datasets = [datasets[0].shard(len(readers), index) for index in readers]
        return step.iterator([dataset.prefetch(ahead) for dataset in datasets])
    share = datasets[0] if is_share else worker_share(datasets[0], workers)
    if workers.count > 1:
        # With no end declared, TensorFlow does not ask all workers before each step whether
        # there is one.
        share = share.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return iter(distribute(share.prefetch(ahead), workers))


def validation_batches(
    data: Batched | Sequence[ArrayLike],
    batch_size: int,
    strategy: tf.distribute.Strategy,
    vocabulary: Callable[[int], Vocabulary] | None = None,
) -> tf.data.Dataset:
    """Returns `validation_data` in batches that can be cut over the replicas.

    Args:
        data: a dataset, or (x, y[, sample_weight]).
        batch_size: rows of a batch of arrays.
        strategy: that of the model.
        vocabulary: as in `as_batches`.
    """
    batches = as_batches(*as_validation(data), batch_size=batch_size, vocabulary=vocabulary)
    replicas = strategy.num_replicas_in_sync
    rows, length = batches.element_spec[0].shape
    if rows % replicas:
        batches = as_batches(batches, shape=(math.ceil(rows / replicas) * replicas, length))
    return batches.prefetch(tf.data.AUTOTUNE)


def count_batches(dataset: tf.data.Dataset) -> int:
    """Counts the batches of one pass, by reading it once where the dataset does not know.

    Raises:
        ConfigError: it has no end.
    """
    count = int(dataset.cardinality())
    if count == tf.data.INFINITE_CARDINALITY:
        raise ConfigError("the dataset repeats for ever: give steps_per_epoch")
    if count == tf.data.UNKNOWN_CARDINALITY:
        with plain_errors():
            count = int(dataset.reduce(tf.constant(0, tf.int64), lambda n, *_: n + 1))
    return count
