"""Self-attention, causal or not: many heads or few key-value heads, learned or rotary positions,
all or a window.

Shapes: B batch, T tokens, D hidden_dim, H query heads, G key-value heads, R = H / G, K width of a
head, C context, S tokens of one cached call, W attention window, N = T / W.
"""

import dataclasses

import keras
import tensorflow as tf
from keras import ops

from tfscale.config.rope import RopeOptions
from tfscale.models.blockwise_attention import blockwise_attention
from tfscale.models.blockwise_rule import is_blockwise
from tfscale.models.cached import (
    cached_attention,
    cached_dense,
    cached_norm,
    out_of_window,
    soft_capped,
    write_cache,
)
from tfscale.models.dropout import Dropout
from tfscale.models.rope import angles, cut, frequencies, rotate
from tfscale.models.visibility import hidden_in_blocks, hidden_keys

MINUS_INFINITY = -1e9
"""Added to attention scores of tokens that must not be seen; float32 softmax gives them exactly
0."""


@keras.saving.register_keras_serializable("tfscale")
class CausalSelfAttention(keras.layers.Layer):
    """Attention of each token to itself and those before it: (B, T, D) -> (B, T, D) (Vaswani et al.
    2017).

    With `causal=False` to those after it too, as in BERT.

    Query, key and value come from one matrix product, which is what makes the step fast on small
    models. Scores and softmax are computed in float32 under every precision. Who sees whom can be
    said by each call: `visible` (B, T or 1, T) bool, true where a token (second axis) sees another
    (third), counts instead of past and window. `segments` (B, T) int32 numbers documents, of which
    a token sees its own alone, besides past and window.

    Args:
        hidden_dim: D.
        num_heads: H.
        num_kv_heads: G, heads of key and value, each read by R query heads (Ainslie et al. 2023); 0
            takes H.
        head_dim: K; 0 takes D / H.
        rope_base: base of the rotary positions (Su et al. 2021), in the order of the two halves; 0
            has none.
        window: W, tokens that a token sees, itself included (Beltagy et al. 2020); 0 is all.
        global_tokens: A, at most W: first tokens that every later one sees besides its window
            (Zaheer et al. 2020).
        dropout: rate on the attention weights.
        use_bias: biases in the two dense layers.
        causal: whether a token sees those before it alone.
        query_key_norm: RMS normalization of the query and the key of each head, with a learned
            scale (K,) for queries and one for keys that all heads share, before rotary positions
            (Henry et al. 2020; Dehghani et al. 2023).
        norm_epsilon: of that normalization.
        soft_cap: bound of the scores by cap x tanh(score / cap) (Gemma 2); 0 has none.
        rope: options of the rotary positions besides their base, or their fields by name.
        scale_dim: width by whose square root scores are divided; 0 takes K.
        query_key_value_bias: biases in the first dense layer, also without `use_bias`.
    """

    def __init__(
        self,
        hidden_dim,
        num_heads,
        dropout,
        use_bias,
        query_key_value_initializer="glorot_uniform",
        output_initializer="glorot_uniform",
        head_dim=0,
        num_kv_heads=0,
        rope_base=0.0,
        window=0,
        causal=True,
        global_tokens=0,
        query_key_norm=False,
        norm_epsilon=1e-5,
        soft_cap=0.0,
        rope=None,
        scale_dim=0,
        query_key_value_bias=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads or num_heads
        self.head_dim = head_dim or hidden_dim // num_heads
        self.rope_base = rope_base
        self.rope = RopeOptions(**rope) if isinstance(rope, dict) else rope or RopeOptions()
        self.scale_dim = scale_dim
        self.query_key_value_bias = query_key_value_bias
        self.window = window
        self.causal = causal
        self.global_tokens = global_tokens
        self.dropout = dropout
        self.use_bias = use_bias
        self.query_key_value = keras.layers.Dense(
            (num_heads + 2 * self.num_kv_heads) * self.head_dim,
            use_bias=use_bias or query_key_value_bias,
            kernel_initializer=query_key_value_initializer,
            dtype=self.dtype_policy,
            name="query_key_value",
        )
        self.output_projection = keras.layers.Dense(
            hidden_dim,
            use_bias=use_bias,
            kernel_initializer=output_initializer,
            dtype=self.dtype_policy,
            name="output_projection",
        )
        self.query_key_norm, self.norm_epsilon = query_key_norm, norm_epsilon
        self.soft_cap = soft_cap
        self.query_norm, self.key_norm = (
            keras.layers.RMSNormalization(epsilon=norm_epsilon, dtype=self.dtype_policy, name=name)
            if query_key_norm
            else None
            for name in ("query_norm", "key_norm")
        )
        self.attention_dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.query_key_value.build(input_shape)
        self.output_projection.build((*input_shape[:-1], self.num_heads * self.head_dim))
        for norm in (self.query_norm, self.key_norm):
            if norm is not None:
                norm.build((*input_shape[:-1], 1, self.head_dim))

    def call(self, inputs, training=False, visible=None, segments=None):
        length = ops.shape(inputs)[1]
        query, key, value = self._split(self.query_key_value(inputs), length, ops)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        query, key = self._turned(query, key, ops.arange(length, dtype="float32"), ops)
        query = query * self._scale
        in_blocks = (
            self.window
            and isinstance(length, int)
            and length % self.window == 0
            and length > 2 * self.window
            # The global tokens of a document are not at the same places in all rows.
            and (segments is None or not self.global_tokens)
        )
        # Weights that are computed again in the backward pass are not dropped, and the first tokens
        # of a document may be anywhere before the blocks of keys that a block of queries meets.
        can_skip = visible is None and self.causal and not self.global_tokens
        can_skip = can_skip and not (training and self.dropout)
        if can_skip and segments is not None and is_blockwise(length):
            mixed = blockwise_attention(
                query, key, value, segments, window=self.window, soft_cap=self.soft_cap
            )
        elif in_blocks and visible is None:
            mixed = self._attend_in_blocks(query, key, value, length, training, segments)
        else:
            mixed = self._attend(query, key, value, length, training, visible, segments)
        return self.output_projection(
            ops.reshape(mixed, (-1, length, self.num_heads * self.head_dim))
        )

    def _split(self, rows, length, np_):
        """(B, T, (H + 2 G) K) -> query (B, T, H, K), key and value (B, T, G, K)."""
        width, counts = self.head_dim, (self.num_heads, self.num_kv_heads, self.num_kv_heads)
        parts = cut(rows, [n * width for n in counts], np_)
        return [
            np_.reshape(part, (-1, length, n, width)) for part, n in zip(parts, counts, strict=True)
        ]

    @property
    def _scale(self):
        return (self.scale_dim or self.head_dim) ** -0.5

    def _turned(self, query, key, positions, np_):
        """Query and key by their rotary positions (T,) float32, if the layer has such."""
        if not self.rope_base:
            return query, key
        turns = angles(positions, frequencies(self.rope_base, self.rope, self.head_dim), np_)
        return rotate(query, turns, np_), rotate(key, turns, np_)

    def _weights(self, scores, mask, training):
        scores = soft_capped(ops.cast(scores, "float32"), self.soft_cap)
        weights = ops.softmax(scores + mask * MINUS_INFINITY, axis=-1)
        return self.attention_dropout(ops.cast(weights, self.compute_dtype), training=training)

    def _attend(self, query, key, value, length, training, visible=None, segments=None):
        """All scores at once, R query heads of a key head as rows of one product."""
        groups, width = self.num_kv_heads, self.head_dim
        repeats = self.num_heads // groups
        query = ops.reshape(
            ops.transpose(query, (0, 2, 1, 3)), (-1, groups, repeats * length, width)
        )
        scores = ops.matmul(query, ops.transpose(key, (0, 2, 3, 1)))
        if visible is None:
            hidden = hidden_keys(
                length,
                repeats,
                causal=self.causal,
                window=self.window,
                global_tokens=self.global_tokens,
                segments=segments,
            )
        else:
            hidden = 1.0 - ops.cast(visible[:, None], "float32")
            if repeats > 1 and visible.shape[1] != 1:
                hidden = ops.tile(hidden, (1, 1, repeats, 1))
        mixed = ops.matmul(
            self._weights(scores, hidden, training), ops.transpose(value, (0, 2, 1, 3))
        )
        mixed = ops.reshape(mixed, (-1, self.num_heads, length, width))
        return ops.transpose(mixed, (0, 2, 1, 3))

    def _attend_in_blocks(self, query, key, value, length, training, segments=None):
        """With a window of W, each block of W queries sees its own block of keys, the one before,
        and the first A keys: T x (2 W + A) scores.
        """
        groups, width, window = self.num_kv_heads, self.head_dim, self.window
        repeats, blocks = self.num_heads // groups, length // window

        def looked_at(x):  # (B, T, G, K) -> (B, G, N, 2 W + A, K)
            x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, groups, blocks, window, width))
            before = ops.pad(x[:, :, :-1], [[0, 0], [0, 0], [1, 0], [0, 0], [0, 0]])
            if not self.global_tokens:
                return ops.concatenate([before, x], axis=3)
            first = ops.tile(x[:, :, :1, : self.global_tokens], (1, 1, blocks, 1, 1))
            return ops.concatenate([before, x, first], axis=3)

        query = ops.reshape(query, (-1, blocks, window, groups, repeats, width))
        query = ops.reshape(
            ops.transpose(query, (0, 3, 1, 4, 2, 5)), (-1, groups, blocks, repeats * window, width)
        )
        scores = ops.matmul(query, ops.transpose(looked_at(key), (0, 1, 2, 4, 3)))
        hidden = hidden_in_blocks(length, repeats, window, self.global_tokens, segments)
        mixed = ops.matmul(self._weights(scores, hidden, training), looked_at(value))
        mixed = ops.reshape(mixed, (-1, groups, blocks, repeats, window, width))
        return ops.transpose(mixed, (0, 2, 4, 1, 3, 5))

    def cached(self, x, key_cache, value_cache, input_pos, mask):
        """Tokens x (B, S, D), caches (B, C, G, K), mask (B, 1, S, C) -> output (B, S, D) and the
        new caches.

        B is known, and 1 in the files of a device; all rows have the same `input_pos` (S,), their
        places in the caches.
        """
        rows, length, context = x.shape[0], x.shape[1], key_cache.shape[1]
        heads, width = self.num_heads, self.head_dim
        query, key, value = self._split(cached_dense(self.query_key_value, x), length, tf)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = cached_norm(self.query_norm, query), cached_norm(self.key_norm, key)
        query, key = self._turned(query, key, tf.cast(input_pos, tf.float32), tf)
        key_cache = write_cache(key_cache, key, input_pos)
        value_cache = write_cache(value_cache, value, input_pos)
        if self.window:
            # A key as far back as the window, or further, is out of sight.
            beyond = out_of_window(input_pos, context, self.window)
            beyond &= tf.range(context) >= self.global_tokens
            mask = mask + tf.cast(beyond, tf.float32) * MINUS_INFINITY
        query = query * self._scale
        mixed = cached_attention(query, key_cache, value_cache, mask, self.soft_cap)
        mixed = tf.reshape(mixed, (rows, length, heads * width))
        return cached_dense(self.output_projection, mixed), key_cache, value_cache

    def get_config(self):
        names = (
            "hidden_dim",
            "num_heads",
            "dropout",
            "use_bias",
            "head_dim",
            "num_kv_heads",
            "rope_base",
            "window",
            "causal",
            "global_tokens",
            "query_key_norm",
            "norm_epsilon",
            "soft_cap",
            "scale_dim",
            "query_key_value_bias",
        )
        options = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **options, "rope": dataclasses.asdict(self.rope)}
