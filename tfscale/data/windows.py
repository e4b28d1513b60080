"""Shards to windows, as tensors.

Shapes: B batch, T sequence length. Tokens stay in their stored type (2 bytes as a rule) up to the
last step, so that the shuffle buffers are small.
"""

from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

from tfscale.data.manifest import Manifest

Function = TypeVar("Function", bound=Callable[..., object])


def without_autograph(function: Function) -> Function:
    """Makes a function build its datasets without AutoGraph.

    Their functions have neither loops nor conditions that AutoGraph would have to rewrite, and
    looking for them takes longer than to build the datasets.
    """
    unconverted: Function = tf.autograph.experimental.do_not_convert(function)
    return unconverted


def model_inputs(tokens: tf.Tensor, manifest: Manifest) -> tf.Tensor:
    """Returns tokens (B, T) int32 of a stream as a network reads them; see `as_inputs`."""
    if manifest.start_id is None:
        return tokens
    return tf.where(tokens == manifest.end_id, manifest.start_id, tokens)


def stored_dtype(manifest: Manifest) -> tf.DType:
    """Returns the type in which `read_blocks` gives tokens."""
    # decode_raw knows no uint32; ids are below 2**31.
    return tf.uint16 if manifest.token_dtype == "uint16" else tf.int32


def read_blocks(files: tf.Tensor | list[str], dtype: tf.DType) -> tf.data.Dataset:
    """Returns the tokens of shards, a record (n,) at a time."""
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return records.map(lambda record: tf.io.decode_raw(record, dtype, little_endian=True))


def windows_of(
    blocks: tf.data.Dataset, sequence_length: int, before: tf.Tensor, phase: tf.Tensor
) -> tf.data.Dataset:
    """Cuts tokens into windows (T + 1,) that overlap by one token.

    The last target of a window is the first input of the next. Whole blocks are cut at once; what
    is left over of a block, at most T + 1 tokens, waits for the next one.

    Args:
        blocks: the tokens (n,), some at a time.
        sequence_length: T, tokens of a window.
        before: the tokens before them (m,): at the beginning of a text its end token.
        phase: tokens at the beginning that are left out.
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

    start = (before, phase)
    return blocks.scan(start, cut).unbatch()


def in_order(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset with one order, whoever reads it, and nothing tuned."""
    options = tf.data.Options()
    options.deterministic = True
    # The pipelines already share the rows; TensorFlow must not deal the files out once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # There is nothing to tune, and when an iterator ends TensorFlow waits for the tuner to wake up:
    # it sleeps twice as long each time, 10 seconds after 10 seconds of reading, and up to a minute.
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)
