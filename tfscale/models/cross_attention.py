"""Attention to a source, and the block of a decoder that has it between its own and the
feed-forward layer.

Shapes: B batch, S tokens of the source part, U of the target part, D hidden_dim, H query heads, G
key-value heads, R = H / G, K width of a head.
"""

import keras
import tensorflow as tf
from keras import ops

from tfscale.models.attention import MINUS_INFINITY
from tfscale.models.cached import cached_dense, cached_norm
from tfscale.models.dropout import Dropout
from tfscale.models.layers import BlockOptions, TransformerBlock, normal_initializers


@keras.saving.register_keras_serializable("tfscale")
class CrossAttention(keras.layers.Layer):
    """Attention of each token of the target to the source: (B, U, D) and memory (B, S, D) -> (B, U,
    D).

    Args:
        hidden_dim: D.
        num_heads: H.
        num_kv_heads: G.
        head_dim: K.
        dropout: rate on the attention weights.
        use_bias: biases in the dense layers.
        seed: seed of the initial weights.
        output_initializer: of the output projection.
    """

    def __init__(
        self,
        hidden_dim,
        num_heads,
        num_kv_heads,
        head_dim,
        dropout,
        use_bias,
        seed,
        output_initializer,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, head_dim
        initial = normal_initializers(seed)
        self.query, self.key_value, self.output_projection = (
            keras.layers.Dense(
                width,
                use_bias=use_bias,
                kernel_initializer=initializer,
                dtype=self.dtype_policy,
                name=name,
            )
            for width, initializer, name in (
                (num_heads * head_dim, next(initial), "query"),
                (2 * num_kv_heads * head_dim, next(initial), "key_value"),
                (hidden_dim, output_initializer, "output_projection"),
            )
        )
        self.attention_dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.query.build(input_shape)
        self.key_value.build(input_shape)
        self.output_projection.build((*input_shape[:-1], self.num_heads * self.head_dim))

    def call(self, inputs, memory, visible, training=False):
        """`visible` (B, S) bool is true where there is a token of the source and false where there
        is padding."""
        heads, groups, width = self.num_heads, self.num_kv_heads, self.head_dim
        length, source = ops.shape(inputs)[1], ops.shape(memory)[1]
        query = ops.reshape(self.query(inputs) * width**-0.5, (-1, length, heads, width))
        # R query heads of a key head are rows of one product.
        query = ops.reshape(
            ops.transpose(query, (0, 2, 1, 3)), (-1, groups, heads // groups * length, width)
        )
        parts = ops.split(self.key_value(memory), 2, axis=-1)
        key, value = (ops.reshape(part, (-1, source, groups, width)) for part in parts)
        scores = ops.matmul(query, ops.transpose(key, (0, 2, 3, 1)))
        hidden = 1.0 - ops.cast(visible[:, None, None], "float32")
        weights = ops.softmax(ops.cast(scores, "float32") + hidden * MINUS_INFINITY, axis=-1)
        weights = self.attention_dropout(ops.cast(weights, self.compute_dtype), training=training)
        mixed = ops.matmul(weights, ops.transpose(value, (0, 2, 1, 3)))
        mixed = ops.transpose(ops.reshape(mixed, (-1, heads, length, width)), (0, 2, 1, 3))
        return self.output_projection(ops.reshape(mixed, (-1, length, heads * width)))

    def memory(self, encoded):
        """Keys and values of a source, (B, S, G, K) each: encoded (B, S, D), in float32; B is
        known."""
        shape = (*encoded.shape[:2], self.num_kv_heads, self.head_dim)
        key, value = tf.split(cached_dense(self.key_value, encoded), 2, axis=-1)
        return tf.reshape(key, shape), tf.reshape(value, shape)

    def cached(self, x, memory_key, memory_value, source_mask):
        """One token x (B, 1, D) with what `memory` gave; `source_mask` (B, 1, 1, S) is added to the
        scores."""
        rows, heads, groups, width = x.shape[0], self.num_heads, self.num_kv_heads, self.head_dim
        query = tf.reshape(
            cached_dense(self.query, x) * width**-0.5, (rows, groups, heads // groups, width)
        )
        scores = (
            tf.matmul(query, tf.transpose(memory_key, (0, 2, 1, 3)), transpose_b=True) + source_mask
        )
        mixed = tf.matmul(tf.nn.softmax(scores), tf.transpose(memory_value, (0, 2, 1, 3)))
        return cached_dense(self.output_projection, tf.reshape(mixed, (rows, 1, heads * width)))


@keras.saving.register_keras_serializable("tfscale")
class DecoderBlock(TransformerBlock):
    """A block with attention to the source between its own and the feed-forward layer; (B, U, D) ->
    (B, U, D)."""

    def __init__(self, options: BlockOptions, **kwargs: object):
        super().__init__(options, **kwargs)
        self.cross_norm = options.norm("cross_norm", self.dtype_policy)
        self.cross_output_norm = (
            options.norm("cross_output_norm", self.dtype_policy) if options.sandwich_norm else None
        )
        self.cross_attention = CrossAttention(
            options.hidden_dim,
            options.num_heads,
            self.attention.num_kv_heads,
            self.attention.head_dim,
            options.dropout,
            options.use_bias,
            options.seed + 500,
            next(options.residual_initializers(options.seed + 501)),
            dtype=self.dtype_policy,
            name="cross_attention",
        )

    def build(self, input_shape):
        super().build(input_shape)
        self.cross_norm.build(input_shape)
        if self.cross_output_norm is not None:
            self.cross_output_norm.build(input_shape)
        self.cross_attention.build(input_shape)

    def call(self, x, memory, source_visible, training=False):  # type: ignore[override]
        x = self.attended(x, training)
        crossed = self.cross_attention(
            self.cross_norm(x), memory, source_visible, training=training
        )
        if self.cross_output_norm is not None:
            crossed = self.cross_output_norm(crossed)
        return self.fed_forward(x + self.residual_dropout(crossed, training=training), training)

    def cached_with_source(
        self, x, key_cache, value_cache, input_pos, mask, memory_key, memory_value, source_mask
    ):
        """The block for one token; caches as in `CausalSelfAttention.cached`, memory as in
        `CrossAttention.cached`."""
        x, key_cache, value_cache = self.cached_attended(x, key_cache, value_cache, input_pos, mask)
        normed = cached_norm(self.cross_norm, x)
        crossed = self.cross_attention.cached(normed, memory_key, memory_value, source_mask)
        if self.cross_output_norm is not None:
            crossed = cached_norm(self.cross_output_norm, crossed)
        return self.cached_fed_forward(x + crossed), key_cache, value_cache
