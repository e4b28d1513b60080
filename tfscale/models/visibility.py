"""Which keys a query must not see: those after it, out of its window, or of another document.

Shapes: B batch, T tokens, R query heads of a key head, W attention window, N = T / W, A global
tokens.
"""

import numpy as np
import tensorflow as tf
from keras import ops

from tfscale.models.documents import places


def hidden_keys(
    length: int | tf.Tensor,
    repeats: int,
    *,
    causal: bool,
    window: int,
    global_tokens: int,
    segments: tf.Tensor | None = None,
) -> tf.Tensor | float:
    """Returns 0 for the keys that a query may see, and 1 or more for those that it must not.

    Args:
        length: T.
        repeats: R; the queries of a key head follow each other.
        causal: hide those after the query.
        window: W, tokens that a query sees; 0 hides none.
        global_tokens: A, first tokens of a document that its later ones see besides.
        segments: the document of each token (B, T) int32; None for one document.

    Returns:
        Float32 (R T, T), or (B, 1, R T, T) with documents; 0.0 where all keys are seen.
    """
    hidden = 1.0 - ops.tril(ops.ones((length, length), dtype="float32")) if causal else 0.0
    if window:
        beyond = ops.tril(ops.ones((length, length), dtype="float32"), -window)
        if segments is None or not global_tokens:
            numbers = ops.arange(length)
        else:
            numbers = places(segments)[:, None]
        hidden = hidden + beyond * ops.cast(numbers >= global_tokens, "float32")
    if segments is not None:
        hidden = hidden + tf.cast(segments[:, :, None] != segments[:, None], tf.float32)
        return ops.tile(hidden[:, None], (1, 1, repeats, 1)) if repeats > 1 else hidden[:, None]
    return ops.tile(hidden, (repeats, 1)) if repeats > 1 and causal else hidden


def hidden_in_blocks(
    length: int, repeats: int, window: int, global_tokens: int, segments: tf.Tensor | None = None
) -> np.ndarray | tf.Tensor:
    """Returns the same for a block of W queries and the keys of the block before, of its own, and
    the first A of the window.

    Args:
        length: T, a multiple of W.
        repeats: R.
        window: W.
        global_tokens: A.
        segments: the document of each token (B, T) int32, where A is 0; None for one document.

    Returns:
        Float32 (N, R W, 2 W + A), or (B, 1, N, R W, 2 W) with documents.
    """
    blocks = length // window
    own, other = np.arange(window)[:, None], np.arange(2 * window)[None]
    hidden = np.tile((other <= own) | (other > own + window), (repeats, 1))
    # Before the first block there is nothing.
    hidden = np.stack([hidden | (other < window), *[hidden] * (blocks - 1)])
    if global_tokens:
        # Those within the window are among its keys already.
        place = np.arange(length).reshape(blocks, window, 1)
        near = np.tile(np.arange(global_tokens) > place - window, (1, repeats, 1))
        hidden = np.concatenate([hidden, near], axis=-1)
    hidden = hidden.astype("float32")
    if segments is None:
        return hidden
    queries = tf.reshape(segments, (-1, blocks, window))
    before = tf.pad(queries[:, :-1], [[0, 0], [1, 0], [0, 0]])
    keys = tf.concat([before, queries], axis=2)
    apart = tf.cast(queries[..., None] != keys[:, :, None], tf.float32)
    return hidden + tf.tile(apart[:, None], (1, 1, 1, repeats, 1))
