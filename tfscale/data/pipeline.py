"""Token shards to `tf.data`: training windows and evaluation windows.

Training windows are the same for every number of readers.

A split is a stream of tokens d1 END d2 END ..., with a virtual END before the first. A window's
targets are T tokens of it, its inputs the tokens just before them. Where a model has a start token
of its own, inputs have it where END is.

Shapes: B batch (rows of this input pipeline), T sequence length.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from tfscale.config.choices import Packing
from tfscale.config.options import checks_arguments
from tfscale.data.index import read_index
from tfscale.data.manifest import Manifest, Verification
from tfscale.data.packing.dataset import PackedWindows, packed_batches
from tfscale.data.packing.plan import packed_plan
from tfscale.data.sharding import input_plan
from tfscale.data.training_windows import TrainingWindows
from tfscale.data.window_plan import window_plan
from tfscale.data.windows import (
    in_order,
    model_inputs,
    read_blocks,
    stored_dtype,
    windows_of,
    without_autograph,
)
from tfscale.errors import ConfigError, DataError, check_range
from tfscale.text.tokenizers.special import as_inputs


def steps_per_epoch(
    manifest: Manifest,
    sequence_length: int,
    global_batch_size: int,
    mix: Mapping[str, float] | None = None,
) -> int:
    """Returns the global batches of a pass over the training split, the same in every epoch.

    Args:
        manifest: of the data folder.
        sequence_length: tokens of a window.
        global_batch_size: windows of a batch over all input pipelines.
        mix: weights of the sources, see `training_dataset`. A pass then has as many windows as the
            sources have together, however often each of them is read.

    Raises:
        DataError: the data is too small for a window or a batch; the message says what would fit.
        ConfigError: the mix does not name the sources of the data.
    """
    return window_plan(manifest, sequence_length, global_batch_size, mix).steps


@checks_arguments
@without_autograph
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
    mix: dict[str, float] | None = None,
    packing: Packing = "stream",
    verify: Verification = "sha256",
) -> tf.data.Dataset:
    """Returns shuffled training batches without end.

    Batch k depends on the data, the sizes, the mix and the seed only: not on the step at which
    reading began, nor on the number of pipelines, each of which gives its rows of it. In every
    epoch the windows of a shard begin at another phase.

    Args:
        data_dir: folder that `tfscale prepare` wrote.
        sequence_length: T, tokens of a window.
        global_batch_size: windows of a batch over all input pipelines.
        seed: of phases, order of shards, and shuffling.
        start_step: the first batch to give. What comes before in its epoch is passed over by the
            index of the shards; it is read and dropped where there is none, or little to pass over.
        num_input_pipelines: readers, such as workers, that share each batch.
        input_pipeline_id: which of them this is, from 0.
        shuffle_windows: windows in the shuffle buffers of all pipelines together; 1 leaves them as
            they are read.
        mix: name of each source of the data -> its weight, such as {"web": 0.7, "code": 0.3}. Of
            all windows up to any batch each source has its share, to within a window for each of
            the other sources; a source that is shorter than its share is read again, shuffled anew.
            None weighs sources by their tokens.
        packing: "stream" cuts the text into windows; "best_fit" puts whole documents, and pieces of
            those that are longer than a window, into rows of T, see `tfscale.data.packing`. A
            network trains on these by `compile(document_mask=True, document_start=...,
            document_end=...)`.
        verify: how shards are checked before the first batch, see `Manifest.load`.

    Returns:
        A dataset of (inputs, targets), each (B, T) int32 with B = global_batch_size /
        num_input_pipelines; with packing "best_fit" (inputs, targets, weights), the weights (B, T)
        float32: 0 at the places that are left at the end of a row, where targets are the end token
        and inputs the start token, and 1 elsewhere.

    Raises:
        DataError: a shard is missing or damaged, or the data is too small for the window or the
            batch.
        ConfigError: a number is out of range, the batch cannot be dealt out to the pipelines, or
            the mix does not name the sources of the data.

    Example:
        dataset = training_dataset("data", sequence_length=128, global_batch_size=32, seed=0)
        inputs, targets = next(iter(dataset))
    """
    _check_least(
        1,
        sequence_length=sequence_length,
        global_batch_size=global_batch_size,
        num_input_pipelines=num_input_pipelines,
        shuffle_windows=shuffle_windows,
    )
    _check_least(0, seed=seed, start_step=start_step)
    manifest = Manifest.load(data_dir, verify)
    if not 0 <= input_pipeline_id < num_input_pipelines:
        raise ConfigError(
            f"input_pipeline_id={input_pipeline_id} is out of range; expected 0 to"
            f" {num_input_pipelines - 1}"
        )
    if packing == "best_fit":
        packed = packed_plan(data_dir, manifest, sequence_length, global_batch_size, mix)
        packed_windows = PackedWindows.of(
            data_dir, manifest, packed, seed, start_step, shuffle_windows
        )
        return packed_batches(packed_windows, num_input_pipelines, input_pipeline_id)
    plan = window_plan(manifest, sequence_length, global_batch_size, mix)
    rows = input_plan(global_batch_size, plan.groups, num_input_pipelines)[input_pipeline_id]
    index = read_index(data_dir, manifest) if start_step else None
    windows = TrainingWindows(
        data_dir, manifest, index, plan, sequence_length, seed, start_step, shuffle_windows
    )
    batches = windows.interleaved(rows).batch(
        global_batch_size // num_input_pipelines, drop_remainder=True
    )

    def finish(windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        windows = tf.cast(windows, tf.int32)
        return model_inputs(windows[:, :-1], manifest), windows[:, 1:]

    return in_order(batches.map(finish))


@checks_arguments
@without_autograph
def evaluation_dataset(
    data_dir: str,
    split: str,
    *,
    sequence_length: int,
    batch_size: int,
    verify: Verification = "sha256",
) -> tf.data.Dataset:
    """Returns all tokens of a split, in order, each as a target exactly once.

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
        ConfigError: a number is out of range.
    """
    _check_least(1, sequence_length=sequence_length, batch_size=batch_size)
    manifest = Manifest.load(data_dir, verify)
    documents = manifest.split(split)
    dtype = stored_dtype(manifest)
    batches = -(-documents.tokens // (sequence_length * batch_size))
    padding = batches * batch_size * sequence_length - documents.tokens
    tokens = read_blocks([os.path.join(data_dir, shard.file) for shard in documents.shards], dtype)
    tokens = tokens.concatenate(
        tf.data.Dataset.from_tensors(tf.fill((padding,), tf.cast(manifest.end_id, dtype)))
    )
    before = tf.constant([manifest.end_id], dtype)
    windows = windows_of(tokens, sequence_length, before, tf.constant(0, tf.int64))
    shape = (batch_size, sequence_length)
    offsets = tf.reshape(tf.range(batch_size * sequence_length, dtype=tf.int64), shape)

    def finish(number: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        real = number * (batch_size * sequence_length) + offsets < documents.tokens
        batch = tf.cast(batch, tf.int32)
        inputs = model_inputs(tf.where(real, batch[:, :-1], manifest.end_id), manifest)
        return inputs, batch[:, 1:], tf.cast(real, tf.float32)

    dataset = windows.batch(batch_size, drop_remainder=True).enumerate().map(finish)
    return in_order(dataset.apply(tf.data.experimental.assert_cardinality(batches)))


def _check_least(least: int, **values: int) -> None:
    for name, value in values.items():
        check_range(value >= least, name, value, f"{least} or more")


def text_windows(
    token_stream: np.ndarray, sequence_length: int, end_id: int, start_id: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the evaluation windows of any stream of tokens.

    Args:
        token_stream: (N,) tokens, documents followed by their end tokens.
        sequence_length: T, tokens of a window.
        end_id: the token that is thought to stand before the first.
        start_id: what a model reads there and between documents; None for the end token itself.

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
    except tf.errors.UnknownError as error:
        # Packed rows are read by Python, whose error TensorFlow passes on as text.
        said = re.search(r"\bDataError: (.*)", error.message)
        if said is None:
            raise
        raise DataError(said[1]) from error


def _reason(message: str) -> str:
    """Returns the line of TensorFlow's message that says what happened, not where in a graph."""
    lines = [line.strip() for line in message.splitlines()]
    reasons = [
        line
        for line in lines
        if line and not re.match(r"Graph execution|Detected at|File |\[\[", line)
    ]
    return re.sub(r"\{\{function_node .*?\}\} | \[Op:.*", "", reasons[-1]) if reasons else message
