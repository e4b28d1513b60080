"""Token shards to `tf.data`: training windows, the same for every number of readers, and evaluation
windows.

A split is a stream of tokens d1 END d2 END ..., with a virtual END before the first. A window's
targets are T tokens of it, its inputs the tokens just before them. Where a model has a start token
of its own, inputs have it where END is.

Shapes: B batch (rows of this input pipeline), T sequence length. Tokens stay in their stored type
(2 bytes as a rule) up to the last step, so that the shuffle buffers are small.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest, Verification
from tfscale.data.sharding import (
    RowRange,
    batches_per_epoch,
    input_plan,
    num_groups,
    windows_per_shard,
)
from tfscale.errors import ConfigError, DataError
from tfscale.text.tokenizers.special import as_inputs

_CYCLE = 8
"""Shards of a group that are read in turn."""

# All random numbers are counter-based and named by what they are for, so that no state is carried
# from epoch to epoch.
_PHASE, _ORDER, _SHUFFLE = range(3)


def steps_per_epoch(manifest: Manifest, sequence_length: int, global_batch_size: int) -> int:
    """Global batches in one pass over the training split; the same number in every epoch.

    Args:
        manifest: of the data folder.
        sequence_length: tokens of a window.
        global_batch_size: windows of a batch over all input pipelines.

    Raises:
        DataError: the data is too small for a window or a batch; the message says what would fit.
    """
    return batches_per_epoch(manifest.split("train"), sequence_length, global_batch_size)


@checks_arguments
def training_dataset(
    data_dir: str,
    *,
    sequence_length: int,
    global_batch_size: int,
    seed: int,
    start_step: int = 0,
    num_input_pipelines: int = 1,
    input_pipeline_id: int = 0,
    shuffle_windows: int = 65_536,
    verify: Verification = "sha256",
) -> tf.data.Dataset:
    """Shuffled training batches without end.

    Batch k depends on the data, the sizes and the seed only: not on the step at which reading
    began, nor on the number of pipelines, each of which gives its rows of it. In every epoch the
    windows of a shard begin at another phase.

    Args:
        data_dir: folder that `tfscale prepare` wrote.
        sequence_length: T, tokens of a window.
        global_batch_size: windows of a batch over all input pipelines.
        seed: of phases, order of shards, and shuffling.
        start_step: the first batch to give. What comes before in its epoch is read and dropped,
            earlier epochs are not.
        num_input_pipelines: readers, such as workers, that share each batch.
        input_pipeline_id: which of them this is, from 0.
        shuffle_windows: windows in the shuffle buffers of all pipelines together; 1 leaves them as
            they are read.
        verify: how shards are checked before the first batch, see `Manifest.load`.

    Returns:
        A dataset of (inputs, targets), each (B, T) int32 with B = global_batch_size /
        num_input_pipelines.

    Raises:
        DataError: a shard is missing or damaged, or the data is too small for the window or the
            batch.
        ConfigError: the batch cannot be dealt out to the pipelines.

    Example:
        dataset = training_dataset("data", sequence_length=128, global_batch_size=32, seed=0)
        inputs, targets = next(iter(dataset))
    """
    manifest = Manifest.load(data_dir, verify)
    split = manifest.split("train")
    if not 0 <= input_pipeline_id < num_input_pipelines:
        raise ConfigError(
            f"input_pipeline_id={input_pipeline_id} is out of range; expected 0 to"
            f" {num_input_pipelines - 1}"
        )
    plan = input_plan(global_batch_size, len(split.shards), num_input_pipelines)[input_pipeline_id]
    streams = _GroupStreams(
        data_dir, manifest, sequence_length, global_batch_size, seed, start_step, shuffle_windows
    )
    batches = streams.interleaved(plan).batch(
        global_batch_size // num_input_pipelines, drop_remainder=True
    )

    def finish(windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        windows = tf.cast(windows, tf.int32)
        return _inputs(windows[:, :-1], manifest), windows[:, 1:]

    return in_order(batches.map(finish))


class _GroupStreams:
    """The windows (T + 1,) of each group of shards, epoch after epoch. The group is a tensor: all
    share one graph."""

    def __init__(
        self,
        data_dir: str,
        manifest: Manifest,
        sequence_length: int,
        global_batch_size: int,
        seed: int,
        start_step: int,
        shuffle_windows: int,
    ):
        shards = manifest.split("train").shards
        self._files = [os.path.join(data_dir, shard.file) for shard in shards]
        self._windows = [windows_per_shard(shard.tokens, sequence_length) for shard in shards]
        self._end_id = manifest.end_id
        self._dtype = _stored_dtype(manifest)
        self._sequence_length = sequence_length
        self._groups = num_groups(global_batch_size, len(shards))
        self._rows = global_batch_size // self._groups
        self._steps = steps_per_epoch(manifest, sequence_length, global_batch_size)
        self._seed = seed
        self._start_step = start_step
        self._shuffle_windows = max(1, shuffle_windows // self._groups)

    def interleaved(self, plan: list[RowRange]) -> tf.data.Dataset:
        """Windows in the order of the batches' rows: those of the plan's first range, of its
        second, and so on."""
        ranges = tf.constant([(rows.group, rows.first, rows.end) for rows in plan], tf.int64)
        groups = tf.data.Dataset.from_tensor_slices(ranges)
        if all((rows.first, rows.end) == (0, self._rows) for rows in plan):
            return groups.interleave(
                lambda rows: self._stream(rows[0]), cycle_length=len(plan), block_length=self._rows
            )

        def taken(rows: tf.Tensor) -> tf.data.Dataset:
            batches = self._stream(rows[0]).batch(self._rows, drop_remainder=True)
            return batches.map(lambda batch: batch[rows[1] : rows[2]])

        return groups.interleave(taken, cycle_length=len(plan), block_length=1).unbatch()

    def _stream(self, group: tf.Tensor) -> tf.data.Dataset:
        first_epoch, skipped = divmod(self._start_step, self._steps)
        # The epochs differ by their number alone, so the earlier ones need not be read.
        epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
        windows = epochs.flat_map(
            lambda epoch: self._epoch(group, epoch).take(self._steps * self._rows)
        )
        return windows.skip(skipped * self._rows)

    def _epoch(self, group: tf.Tensor, epoch: tf.Tensor) -> tf.data.Dataset:
        # A shuffle of tf.data also depends on the graph's seed, which is the user's
        # `tf.random.set_seed`. This is inside of a function's graph: only that graph's seed is set.
        # (With 0, TensorFlow compares our seed, a tensor, with 0.)
        tf.random.set_seed(1)
        numbers = tf.range(group, len(self._files), self._groups)
        # A random number for each shard, of which this group's decide about its order.
        keys = tf.gather(self._random(_ORDER, epoch, group, len(self._files)), numbers)
        numbers = tf.gather(numbers, tf.argsort(keys, stable=True))
        shards = tf.data.Dataset.from_tensor_slices(
            (
                tf.gather(tf.constant(self._files), numbers),
                tf.gather(tf.constant(self._windows, tf.int64), numbers),
                tf.gather(
                    self._random(_PHASE, epoch, group, len(self._files)) % self._sequence_length,
                    numbers,
                ),
            )
        )
        most_shards = -(-len(self._files) // self._groups)
        windows = shards.interleave(
            self._shard, cycle_length=min(_CYCLE, most_shards), block_length=1
        )
        if self._shuffle_windows == 1:
            return windows
        seed = self._random(_SHUFFLE, epoch, group, 1)[0]
        return windows.shuffle(self._shuffle_windows, seed=seed, reshuffle_each_iteration=False)

    def _random(self, purpose: int, epoch: tf.Tensor, group: tf.Tensor, count: int) -> tf.Tensor:
        """Numbers (count,) from 0 to 2**31 - 1 that belong to the purpose, the epoch and the
        group."""
        seed = tf.stack([tf.constant(self._seed, tf.int64), tf.constant(purpose, tf.int64)])
        for data in (epoch, group):
            seed = tf.random.fold_in(seed, data, alg="philox")
        return tf.random.stateless_uniform(
            (count,), seed, 0, np.iinfo(np.int32).max, tf.int64, alg="philox"
        )

    def _shard(self, file: tf.Tensor, windows: tf.Tensor, phase: tf.Tensor) -> tf.data.Dataset:
        tokens = _token_blocks(file, self._dtype)
        return _windows(tokens, self._sequence_length, self._end_id, self._dtype, phase).take(
            windows
        )


@checks_arguments
def evaluation_dataset(
    data_dir: str,
    split: str,
    *,
    sequence_length: int,
    batch_size: int,
    verify: Verification = "sha256",
) -> tf.data.Dataset:
    """All tokens of a split, in order, each as a target exactly once.

    Args:
        data_dir: folder that `tfscale prepare` wrote.
        split: "validation", "test" or "train".
        sequence_length: T, tokens of a window.
        batch_size: B, windows of a batch; the last batch is filled up by windows of weight 0.
        verify: how shards are checked before the first batch, see `Manifest.load`.

    Returns:
        A dataset of (inputs (B, T) int32, targets (B, T) int32, weights (B, T) float32); weights
        are 1 at tokens of the split and 0 at padding, where targets are the end token and inputs
        the start token. It is finite and its cardinality is known.

    Raises:
        DataError: there is no such split, or a shard is missing or damaged.
    """
    manifest = Manifest.load(data_dir, verify)
    part = manifest.split(split)
    dtype = _stored_dtype(manifest)
    batches = -(-part.tokens // (sequence_length * batch_size))
    padding = batches * batch_size * sequence_length - part.tokens
    tokens = _token_blocks([os.path.join(data_dir, shard.file) for shard in part.shards], dtype)
    tokens = tokens.concatenate(
        tf.data.Dataset.from_tensors(tf.fill((padding,), tf.cast(manifest.end_id, dtype)))
    )
    windows = _windows(tokens, sequence_length, manifest.end_id, dtype, tf.constant(0, tf.int64))
    shape = (batch_size, sequence_length)
    offsets = tf.reshape(tf.range(batch_size * sequence_length, dtype=tf.int64), shape)

    def finish(number: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        real = number * (batch_size * sequence_length) + offsets < part.tokens
        batch = tf.cast(batch, tf.int32)
        inputs = _inputs(tf.where(real, batch[:, :-1], manifest.end_id), manifest)
        return inputs, batch[:, 1:], tf.cast(real, tf.float32)

    dataset = windows.batch(batch_size, drop_remainder=True).enumerate().map(finish)
    return in_order(dataset.apply(tf.data.experimental.assert_cardinality(batches)))


def text_windows(
    token_stream: np.ndarray, sequence_length: int, end_id: int, start_id: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The evaluation windows of any stream of tokens.

    Args:
        token_stream: (N,) tokens, documents followed by their end tokens.
        sequence_length: T, tokens of a window.
        end_id: the token that is thought to stand before the first.
        start_id: what a model reads in its place and between documents; None for the end token
            itself.

    Returns:
        inputs, targets (W, T) int32 and weights (W, T) float32, with W = N / T rounded up; as
        `evaluation_dataset`, with end tokens as padding, which a network that reads both sides sees
        as the end of a document.

    Example:
        text_windows(np.array([5, 6, 7]), 2, end_id=1)
        # inputs [[1, 5], [6, 1]], targets [[5, 6], [7, 1]], weights [[1, 1], [1, 0]]
    """
    stream = np.asarray(token_stream, np.int32)
    padding = -len(stream) % sequence_length
    inputs = np.concatenate([[end_id], stream[:-1]])[: len(stream)]
    shape = (-1, sequence_length)
    inputs = as_inputs(np.pad(inputs, (0, padding), constant_values=end_id), end_id, start_id)
    return (
        inputs.reshape(shape),
        np.pad(stream, (0, padding), constant_values=end_id).reshape(shape),
        np.pad(np.ones(len(stream), np.float32), (0, padding)).reshape(shape),
    )


@contextlib.contextmanager
def data_errors(data_dir: str | None = None) -> Iterator[None]:
    """Turns an error of reading shards, met in the middle of a pass, into a DataError.

    Args:
        data_dir: the data folder, which is checked then, so that the error names the shard.

    Example:
        with data_errors("data"):
            for inputs, targets in dataset: ...
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
        # An operation of the model can raise these too, such as one of XLA that this TensorFlow
        # lacks. What tf.data cannot read is raised by an operation that takes the next element of
        # an iterator.
        if "IteratorGetNext" not in error.message:
            raise
        if data_dir is not None:
            # TensorFlow does not say which file it was.
            Manifest.load(data_dir, "sha256")
        raise DataError(f"a shard could not be read: {_reason(error.message)}") from error


def _reason(message: str) -> str:
    """The line of TensorFlow's message that says what happened; the others say where in a graph."""
    lines = [line.strip() for line in message.splitlines()]
    told = [
        line
        for line in lines
        if line and not re.match(r"Graph execution|Detected at|File |\[\[", line)
    ]
    return re.sub(r"\{\{function_node .*?\}\} | \[Op:.*", "", told[-1]) if told else message


def _inputs(tokens: tf.Tensor, manifest: Manifest) -> tf.Tensor:
    """Tokens (B, T) int32 of the stream as a network reads them, as `as_inputs` has them."""
    if manifest.start_id is None:
        return tokens
    return tf.where(tokens == manifest.end_id, manifest.start_id, tokens)


def _stored_dtype(manifest: Manifest) -> tf.DType:
    # decode_raw knows no uint32; ids are below 2**31.
    return tf.uint16 if manifest.token_dtype == "uint16" else tf.int32


def _token_blocks(files: Any, dtype: tf.DType) -> tf.data.Dataset:
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return records.map(lambda record: tf.io.decode_raw(record, dtype, little_endian=True))


def _windows(
    blocks: tf.data.Dataset, sequence_length: int, end_id: int, dtype: tf.DType, phase: tf.Tensor
) -> tf.data.Dataset:
    """Windows (T + 1,) that overlap by one token: the last target of one is the first input of the
    next.

    `phase` targets at the beginning are left out. Whole blocks are cut at once; what is left over
    of a block, at most T + 1 tokens, waits for the next one.
    """

    def cut(
        state: tuple[tf.Tensor, tf.Tensor], block: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        left_over, to_drop = state
        tokens = tf.concat([left_over, block], 0)
        dropped = tf.minimum(to_drop, tf.size(tokens, tf.int64))
        tokens = tokens[dropped:]
        count = tf.maximum(0, (tf.size(tokens) - 1) // sequence_length)
        used = count * sequence_length
        body = tf.reshape(tokens[:used], (count, sequence_length))
        following = tokens[sequence_length : used + 1 : sequence_length]
        windows = tf.ensure_shape(
            tf.concat([body, following[:, None]], 1), (None, sequence_length + 1)
        )
        return (tokens[used:], to_drop - dropped), windows

    start = (tf.constant([end_id], dtype), phase)
    return blocks.scan(start, cut).unbatch()


def in_order(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset with the options that all of tfscale's have: one order, whoever reads it, and
    nothing tuned."""
    options = tf.data.Options()
    options.deterministic = True
    # The pipelines already share the rows; TensorFlow must not deal the files out once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # There is nothing to tune, and when an iterator ends TensorFlow waits for the tuner to wake up:
    # it sleeps twice as long each time, 10 seconds after 10 seconds of reading, and up to a minute.
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)
