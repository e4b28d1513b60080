"""The parts that language models are built of: initial weights, positions, causal attention, the Transformer block.

Shapes: B batch, T tokens of a window, D hidden_dim, H heads, K width of a head, C context, S tokens of one cached call.
The `cached` methods are the same maths for one sequence with a key-value cache; they are plain TensorFlow, in float32,
so that they also convert to TFLite builtins.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import ops
from tensorflow.compiler.tf2xla.python.xla import dynamic_update_slice

LAYER_NORM_EPSILON = 1e-5
MASKED = -1e9
"""Added to attention scores of tokens that must not be seen; float32 softmax gives them exactly 0."""


def normal_initializers(seed: int, stddev: float = 0.02) -> Iterator[keras.initializers.Initializer]:
    """Endless normal initializers, each with a seed of its own, all fixed by `seed` (GPT-2's 0.02)."""
    for index in itertools.count():
        yield keras.initializers.RandomNormal(stddev=stddev, seed=seed * 100_003 + index + 1)


@keras.saving.register_keras_serializable("tfscale")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector per position: (B, T, D) -> (B, T, D), T at most `context_length`."""

    def __init__(self, context_length: int, initializer: keras.initializers.Initializer | str = "zeros", **kwargs):
        super().__init__(**kwargs)
        self.context_length = context_length
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            shape=(self.context_length, input_shape[-1]), initializer=self.initializer, name="embeddings"
        )

    def call(self, inputs):
        # `ops.slice`, because a table that is cut over parameter servers does not take an index of a tensor.
        length, width = ops.shape(inputs)[1], self.embeddings.shape[1]
        return inputs + ops.slice(ops.convert_to_tensor(self.embeddings), (0, 0), (length, width))

    def get_config(self):
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "context_length": self.context_length, "initializer": initializer}


@keras.saving.register_keras_serializable("tfscale")
class CausalSelfAttention(keras.layers.Layer):
    """Multi-head attention of each token to itself and those before it: (B, T, D) -> (B, T, D) (Vaswani et al. 2017).

    Query, key and value come from one matrix product, which is what makes the step fast on small models.
    Scores and softmax are computed in float32 under every precision.
    """

    def __init__(self, hidden_dim, num_heads, dropout, use_bias, query_key_value_initializer="glorot_uniform",
                 output_initializer="glorot_uniform", head_dim=0, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.head_dim = head_dim or hidden_dim // num_heads
        self.dropout = dropout
        self.use_bias = use_bias
        self.query_key_value = keras.layers.Dense(
            3 * num_heads * self.head_dim, use_bias=use_bias, kernel_initializer=query_key_value_initializer,
            dtype=self.dtype_policy, name="query_key_value",
        )  # fmt: skip
        self.output_projection = keras.layers.Dense(
            hidden_dim, use_bias=use_bias, kernel_initializer=output_initializer,
            dtype=self.dtype_policy, name="output_projection",
        )  # fmt: skip
        self.attention_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.query_key_value.build(input_shape)
        self.output_projection.build((*input_shape[:-1], self.num_heads * self.head_dim))

    def call(self, inputs, training=False):
        length = ops.shape(inputs)[1]

        def heads(x):  # (B, T, D) -> (B, H, T, K)
            return ops.transpose(ops.reshape(x, (-1, length, self.num_heads, self.head_dim)), (0, 2, 1, 3))

        query, key, value = (heads(x) for x in ops.split(self.query_key_value(inputs), 3, axis=-1))
        scores = ops.matmul(query * self.head_dim**-0.5, ops.transpose(key, (0, 1, 3, 2)))
        hidden = 1.0 - ops.tril(ops.ones((length, length), dtype="float32"))
        weights = ops.softmax(ops.cast(scores, "float32") + hidden * MASKED, axis=-1)
        weights = self.attention_dropout(ops.cast(weights, self.compute_dtype), training=training)
        mixed = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return self.output_projection(ops.reshape(mixed, (-1, length, self.num_heads * self.head_dim)))

    def cached(self, x, key_cache, value_cache, input_pos, mask):
        """One sequence: x (1, S, D), caches (1, C, H, K), mask (1, 1, S, C) -> output (1, S, D) and the new caches."""
        length = x.shape[1]
        rows = cached_dense(self.query_key_value, x)
        query, key, value = (
            tf.reshape(part, (1, length, self.num_heads, self.head_dim)) for part in tf.split(rows, 3, axis=-1)
        )
        start = [tf.constant(0), input_pos[0], tf.constant(0), tf.constant(0)]
        key_cache = dynamic_update_slice(key_cache, key, start)
        value_cache = dynamic_update_slice(value_cache, value, start)
        query = tf.transpose(query * self.head_dim**-0.5, (0, 2, 1, 3))
        scores = tf.matmul(query, tf.transpose(key_cache, (0, 2, 1, 3)), transpose_b=True) + mask
        mixed = tf.matmul(tf.nn.softmax(scores), tf.transpose(value_cache, (0, 2, 1, 3)))
        mixed = tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), (1, length, self.num_heads * self.head_dim))
        return cached_dense(self.output_projection, mixed), key_cache, value_cache

    def get_config(self):
        names = ("hidden_dim", "num_heads", "dropout", "use_bias", "head_dim")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("tfscale")
class TransformerBlock(keras.layers.Layer):
    """Pre-norm block: x + attention(norm(x)), then x + feed_forward(norm(x)); (B, T, D) -> (B, T, D)."""

    def __init__(self, hidden_dim, num_heads, feed_forward_dim, dropout=0.0, use_bias=False, num_layers=1, seed=0,
                 head_dim=0, feed_forward_rank=0, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.options = {
            "hidden_dim": hidden_dim, "num_heads": num_heads, "feed_forward_dim": feed_forward_dim,
            "dropout": dropout, "use_bias": use_bias, "num_layers": num_layers, "seed": seed, "head_dim": head_dim,
            "feed_forward_rank": feed_forward_rank,
        }  # fmt: skip
        initial = normal_initializers(seed)
        # GPT-2: what is added to the residual stream starts smaller by the square root of the number of additions.
        residual = normal_initializers(seed + 1, 0.02 / math.sqrt(2 * num_layers))
        policy = self.dtype_policy
        self.attention_norm = layer_norm(use_bias, policy, "attention_norm")
        self.attention = CausalSelfAttention(
            hidden_dim, num_heads, dropout, use_bias, next(initial), next(residual), head_dim,
            dtype=policy, name="attention",
        )  # fmt: skip
        self.feed_forward_norm = layer_norm(use_bias, policy, "feed_forward_norm")
        self.expand = keras.layers.Dense(
            feed_forward_dim, activation="gelu", use_bias=use_bias, kernel_initializer=next(initial),
            dtype=policy, name="expand",
        )  # fmt: skip
        self.contract = keras.layers.Dense(
            hidden_dim, use_bias=use_bias, kernel_initializer=next(residual), dtype=policy, name="contract"
        )
        self.residual_dropout = keras.layers.Dropout(dropout, dtype=policy)
        # Of low rank, each matrix of the feed-forward layer is a narrow one before a wide one.
        self.before_expand: Any = None
        self.before_contract: Any = None
        if feed_forward_rank:
            self.before_expand, self.before_contract = (
                keras.layers.Dense(
                    feed_forward_rank, use_bias=False, kernel_initializer=next(initial), dtype=policy, name=name
                )
                for name in ("before_expand", "before_contract")
            )

    def build(self, input_shape):
        for layer in (self.attention_norm, self.attention, self.feed_forward_norm):
            layer.build(input_shape)
        inner = (*input_shape[:-1], self.options["feed_forward_dim"])
        narrow = (*input_shape[:-1], self.options["feed_forward_rank"])
        if self.before_expand is not None:
            self.before_expand.build(input_shape)
            self.before_contract.build(inner)
        self.expand.build(input_shape if self.before_expand is None else narrow)
        self.contract.build(inner if self.before_contract is None else narrow)

    def call(self, x, training=False):
        attended = self.attention(self.attention_norm(x), training=training)
        x = x + self.residual_dropout(attended, training=training)
        forwarded = self.feed_forward_norm(x)
        for layer in self.feed_forward_layers:
            forwarded = layer(forwarded)
        return x + self.residual_dropout(forwarded, training=training)

    @property
    def feed_forward_layers(self):
        """The dense layers of the feed-forward part, in order."""
        layers = (self.before_expand, self.expand, self.before_contract, self.contract)
        return [layer for layer in layers if layer is not None]

    def cached(self, x, key_cache, value_cache, input_pos, mask):
        """The block for one sequence with its caches; see `CausalSelfAttention.cached`."""
        attended, key_cache, value_cache = self.attention.cached(
            cached_layer_norm(self.attention_norm, x), key_cache, value_cache, input_pos, mask
        )
        x = x + attended
        forwarded = cached_layer_norm(self.feed_forward_norm, x)
        for layer in self.feed_forward_layers:
            forwarded = cached_dense(layer, forwarded)
            if layer is self.expand:
                forwarded = tf.nn.gelu(forwarded)
        return x + forwarded, key_cache, value_cache

    def get_config(self):
        return {**super().get_config(), **self.options}


def layer_norm(use_bias: bool, policy, name: str) -> keras.layers.LayerNormalization:
    """Layer normalization with GPT-2's epsilon (Ba et al. 2016)."""
    return keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, center=use_bias, dtype=policy, name=name)


def variable(keras_variable: keras.Variable) -> tf.Variable:
    """The TensorFlow variable behind a Keras one: converters track these, and lose the weights of Keras's own."""
    return keras_variable.value


def cached_dense(layer: keras.layers.Dense, x: tf.Tensor) -> tf.Tensor:
    """`layer` without its activation on x (1, S, D), as one flat float32 matrix product."""
    flat = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), variable(layer.kernel))
    if layer.use_bias:
        flat = flat + variable(layer.bias)
    return tf.reshape(flat, (*x.shape[:-1], flat.shape[-1]))


def cached_layer_norm(layer: keras.layers.LayerNormalization, x: tf.Tensor) -> tf.Tensor:
    """`layer` on x (1, S, D) in float32."""
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    normed = centred * tf.math.rsqrt(variance + layer.epsilon) * variable(layer.gamma)
    return normed + variable(layer.beta) if layer.center else normed
