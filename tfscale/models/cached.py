"""Dense, normalization and attention on one sequence, in plain TensorFlow and float32, so that they
convert to TFLite.

Shapes: B rows, S tokens of a call, C context, H query heads, G key-value heads, K and W widths of
keys and values, D width, N rows.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import keras
import tensorflow as tf

from tfscale.compat.tensorflow import dynamic_update_slice

_tracing_for_tflite = contextvars.ContextVar("tracing_for_tflite", default=False)


@contextlib.contextmanager
def tracing_for_tflite() -> Iterator[None]:
    """Has cached steps that are traced within the block write their caches by the operation that
    TFLite has built in.

    That operation is XLA's. TensorFlow can run it only where it comes with XLA for the processor,
    which the TPU wheel does not.
    """
    token = _tracing_for_tflite.set(True)
    try:
        yield
    finally:
        _tracing_for_tflite.reset(token)


def write_cache(cache: tf.Tensor, rows: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Returns the cache (B, C, G, K) with rows (B, S, G, K) at consecutive positions (S,) int32; B
    is known."""
    if _tracing_for_tflite.get():
        return dynamic_update_slice(cache, rows, [0, positions[0], 0, 0])
    places = tf.stack(tf.meshgrid(tf.range(cache.shape[0]), positions, indexing="ij"), axis=-1)
    return tf.tensor_scatter_nd_update(cache, places, rows)


def cached_attention(
    query: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    mask: tf.Tensor,
    soft_cap: float = 0.0,
) -> tf.Tensor:
    """Attention of the tokens of one call to all that a cache holds.

    Args:
        query: (B, S, H, K), scaled.
        keys: (B, C, G, K); each of its G heads is read by H / G heads of the query.
        values: (B, C, G, W).
        mask: (B or 1, 1, S, C), added to the scores.
        soft_cap: bound of the scores, by `soft_capped`; 0 has none.

    Returns:
        (B, S, H, W).
    """
    rows, length, heads, width = query.shape
    context, groups = keys.shape[1], keys.shape[2]
    query = tf.reshape(
        tf.transpose(query, (0, 2, 1, 3)), (rows, groups, heads // groups * length, width)
    )
    scores = tf.matmul(query, tf.transpose(keys, (0, 2, 1, 3)), transpose_b=True)
    scores = soft_capped(tf.reshape(scores, (rows, heads, length, context)), soft_cap) + mask
    weights = tf.reshape(tf.nn.softmax(scores), (rows, groups, heads // groups * length, context))
    mixed = tf.matmul(weights, tf.transpose(values, (0, 2, 1, 3)))
    mixed = tf.reshape(mixed, (rows, heads, length, values.shape[-1]))
    return tf.transpose(mixed, (0, 2, 1, 3))


def soft_capped(x: tf.Tensor, cap: float) -> tf.Tensor:
    """Returns numbers bounded smoothly by cap x tanh(x / cap) (Gemma 2, Riviere et al. 2024); as
    they are where the cap is 0."""
    return cap * tf.tanh(x / cap) if cap else x


def out_of_window(input_pos: tf.Tensor, context: int, window: int) -> tf.Tensor:
    """Returns which keys (S, C) bool are as far behind each token as the window, or further."""
    distance = tf.reshape(input_pos, (input_pos.shape[0], 1)) - tf.range(context)
    return distance >= window


def variable(keras_variable: keras.Variable) -> tf.Variable:
    """Returns the TensorFlow variable behind a Keras one: converters track these, and lose the
    weights of Keras's own."""
    return keras_variable.value


def rows_of(table: keras.Variable, ids: tf.Tensor) -> tf.Tensor:
    """Returns the rows of a table for ids (N,).

    `tf.gather` of the variable itself would be `ResourceGather`, after which TensorFlow copies all
    of the table whenever it is read, for each token that is written then.
    """
    return tf.gather(tf.convert_to_tensor(variable(table)), ids)


def cached_dense(layer: keras.layers.Dense, x: tf.Tensor) -> tf.Tensor:
    """`layer` without its activation on x (1, S, D), as one flat float32 matrix product."""
    flat = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), variable(layer.kernel))
    if layer.use_bias:
        flat = flat + variable(layer.bias)
    return tf.reshape(flat, (*x.shape[:-1], flat.shape[-1]))


def cached_norm(layer: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """Applies a layer or RMS normalization to the last axis of x (..., D) in float32."""
    if isinstance(layer, keras.layers.RMSNormalization):
        square = tf.reduce_mean(tf.square(x), axis=-1, keepdims=True)
        return x * tf.math.rsqrt(square + layer.epsilon) * variable(layer.scale)
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    normed = centred * tf.math.rsqrt(variance + layer.epsilon) * variable(layer.gamma)
    return normed + variable(layer.beta) if layer.center else normed


def cached_logits(
    embedding: keras.layers.Layer,
    narrow: keras.layers.Layer | None,
    x: tf.Tensor,
    soft_cap: float = 0.0,
) -> tf.Tensor:
    """Returns the logits (N, V) of x (N, D) by a reversible token embedding, after the matrix that
    narrows x to it, if any; bounded by `soft_capped`."""
    x = x if narrow is None else cached_dense(narrow, x)
    if embedding.tie_weights:
        logits = tf.matmul(x, variable(embedding.embeddings), transpose_b=True)
    else:
        logits = tf.matmul(x, variable(embedding.reverse_embeddings))
    if not soft_cap:
        return logits
    # The minimum changes nothing: there tanh is 1. Without it a converter divides the table by the
    # cap, and a table that is also the token embedding is stored twice.
    return soft_capped(tf.minimum(logits, 100 * soft_cap), soft_cap)
