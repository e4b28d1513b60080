"""A split as contiguous streams that are read side by side.

So a recurrent state can be carried from window to window (Mikolov et al. 2010; Zaremba et al.
2014).

Of N tokens, stream s of B holds the N // B from s * (N // B) on; the k-th window of it has the
targets k * T up to (k + 1) * T. As everywhere, inputs are the tokens just before, and an END is
thought to stand before the first token.

Shapes: B streams, T tokens of a window, N tokens of the split. A whole split is held in memory,
once: 2 bytes a token, 4 with vocabularies above 65,536, so that 1 GB holds 500 million tokens.
"""

import numpy as np
import tensorflow as tf

from tfscale.data.manifest import Manifest, Verification
from tfscale.data.tokens import token_blocks
from tfscale.data.windows import in_order, model_inputs, without_autograph
from tfscale.errors import DataError
from tfscale.text.score import stream_starts
from tfscale.text.tokenizers.special import as_inputs


def stream_steps(manifest: Manifest, sequence_length: int, global_batch_size: int) -> int:
    """Returns the windows of each training stream, and so the steps of a pass over the data.

    Fewer than T tokens at the end of each stream, and fewer than B at the end of the split, are
    never targets.

    Args:
        manifest: of the data folder.
        sequence_length: T, tokens of a window.
        global_batch_size: B, streams.

    Raises:
        DataError: the streams are shorter than a window; the message says what would fit.
    """
    tokens = manifest.split("train").tokens
    steps = tokens // global_batch_size // sequence_length
    if not steps:
        raise DataError(
            f"global_batch_size={global_batch_size} streams of {tokens // global_batch_size} tokens"
            f" are shorter than sequence_length={sequence_length}: the training split has {tokens}"
            " tokens; prepare more text, or take fewer streams or a shorter window"
        )
    return steps


@without_autograph
def stream_dataset(
    data_dir: str,
    *,
    sequence_length: int,
    global_batch_size: int,
    start_step: int = 0,
    verify: Verification = "sha256",
) -> tf.data.Dataset:
    """Returns training batches without end, in order.

    Row b of each batch goes on where row b of the one before stopped.

    After `stream_steps` batches the streams begin again, every pass alike. Nothing is shuffled, and
    nothing is random.

    Args:
        data_dir: folder that `tfscale prepare` wrote.
        sequence_length: T, tokens of a window.
        global_batch_size: B, streams.
        start_step: the first batch to give.
        verify: how shards are checked before the first batch, see `Manifest.load`.

    Returns:
        A dataset of (inputs, targets), each (B, T) int32.

    Raises:
        DataError: a shard is missing or damaged, or the streams are shorter than a window.

    Example:
        dataset = stream_dataset("data", sequence_length=35, global_batch_size=20)
        inputs, targets = next(iter(dataset))
    """
    manifest = Manifest.load(data_dir, verify)
    steps = stream_steps(manifest, sequence_length, global_batch_size)
    tokens = split_tokens(data_dir, manifest, "train")
    starts = np.arange(global_batch_size) * (len(tokens) // global_batch_size)

    def window(step: np.ndarray) -> np.ndarray:
        # A window has its T + 1 tokens side by side, the one before its first target first.
        first = starts + int(step % steps) * sequence_length - 1
        places = first[:, None] + np.arange(sequence_length + 1)
        return np.where(places < 0, manifest.end_id, tokens[np.maximum(places, 0)]).astype(np.int32)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        windows = tf.numpy_function(window, [step], tf.int32)
        windows = tf.ensure_shape(windows, (global_batch_size, sequence_length + 1))
        return model_inputs(windows[:, :-1], manifest), windows[:, 1:]

    return in_order(tf.data.Dataset.range(start_step, np.iinfo(np.int64).max).map(batch))


@without_autograph
def evaluation_streams(
    tokens: np.ndarray,
    *,
    sequence_length: int,
    end_id: int,
    start_id: int | None = None,
    multiple_of: int = 1,
) -> tf.data.Dataset:
    """Returns all tokens of a text, each as a target once, for a network that carries a state.

    The text is cut where `tfscale.text.score.stream_starts` says: into 8 streams of equal length, a
    short one into fewer.

    Args:
        tokens: ids (N,), documents followed by their end tokens.
        sequence_length: T, tokens of a window. It bounds the memory and does not change the score.
        end_id: the token that is thought to stand before the first.
        start_id: what a model reads there and between documents; None for the end token itself.
        multiple_of: rows are filled up to a multiple of this, so that they can be cut over as many
            replicas.

    Returns:
        A finite dataset of (inputs, targets, weights), each (B, T), as
        `tfscale.data.pipeline.evaluation_dataset` gives them; weights are 0 after the end of a
        stream, and in rows that fill up.

    Example:
        evaluation_streams(np.array([5, 6, 7]), sequence_length=2, end_id=1)
        # inputs [[1, 5]] and [[6, 0]], targets [[5, 6]] and [[7, 0]]
    """
    starts = stream_starts(len(tokens))
    ends = [*starts[1:], len(tokens)]
    missing = -len(starts) % multiple_of
    first = np.array([*starts, *[0] * missing])[:, None]
    end = np.array([*ends, *[0] * missing])[:, None]
    windows = -(-max(e - s for s, e in zip(starts, ends, strict=True)) // sequence_length)
    shape = (len(first), sequence_length)

    def window(number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        places = first + int(number) * sequence_length + np.arange(sequence_length)
        real = places < end
        before = tokens[np.clip(places - 1, 0, len(tokens) - 1)]
        inputs = np.where(
            real, as_inputs(np.where(places == 0, end_id, before), end_id, start_id), 0
        )
        targets = np.where(real, tokens[np.minimum(places, len(tokens) - 1)], 0)
        return inputs.astype(np.int32), targets.astype(np.int32), real.astype(np.float32)

    def batch(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        parts = tf.numpy_function(window, [number], (tf.int32, tf.int32, tf.float32))
        return tuple(tf.ensure_shape(part, shape) for part in parts)

    return in_order(tf.data.Dataset.range(windows).map(batch))


def split_tokens(data_dir: str, manifest: Manifest, split: str) -> np.ndarray:
    """Returns all tokens (N,) of a split, in order and in their stored type.

    There is no second copy in memory.

    Raises:
        DataError: there is no such split, or a shard cannot be read or has another number of tokens
            than it should.
    """
    blocks = token_blocks(data_dir, manifest, split)
    tokens = np.empty(
        manifest.split(split).tokens, np.uint16 if manifest.token_dtype == "uint16" else np.uint32
    )
    done = 0
    for block in blocks:
        if done + len(block) <= len(tokens):
            tokens[done : done + len(block)] = block
        done += len(block)
    if done != len(tokens):
        raise DataError(
            f"the {split} split of {data_dir} has {done} tokens, and its manifest says"
            f" {len(tokens)}"
        )
    return tokens
