"""The parts that language models are built of: initial weights, positions, normalization, the
Transformer block.

Shapes: B batch, T tokens of a window, D hidden_dim, F feed_forward_dim, C context, S tokens of one
cached call. The `cached` methods are the same maths for one sequence with a key-value cache; they
are plain TensorFlow, in float32, so that they also convert to TFLite builtins.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import keras
from keras import ops

from tfscale.compat.keras import KerasConfig
from tfscale.config.rope import RopeOptions
from tfscale.models.activations import ACTIVATIONS, GATES, cached_activation
from tfscale.models.attention import CausalSelfAttention
from tfscale.models.cached import cached_dense, cached_norm
from tfscale.models.documents import places
from tfscale.models.dropout import Dropout


def normal_initializers(
    seed: int, stddev: float = 0.02
) -> Iterator[keras.initializers.Initializer]:
    """Returns endless normal initializers, each with a seed of its own, all fixed by `seed`
    (GPT-2's 0.02)."""
    for index in itertools.count():
        yield keras.initializers.RandomNormal(stddev=stddev, seed=seed * 100_003 + index + 1)


@keras.saving.register_keras_serializable("tfscale")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector per position: (B, T, D) -> (B, T, D), T at most `context_length`.

    With `segments` (B, T) int32, the position is that in the token's document.
    """

    looked_up = True
    """Decoding looks its rows up by position, so that files of it have a scale per row."""

    def __init__(
        self,
        context_length: int,
        initializer: keras.initializers.Initializer | str = "zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.context_length = context_length
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            shape=(self.context_length, input_shape[-1]),
            initializer=self.initializer,
            name="embeddings",
        )

    def compute_output_shape(self, inputs_shape):
        return inputs_shape

    def call(self, inputs, segments=None):
        if segments is not None:
            # Of each document (B, T), the positions begin anew.
            table = ops.convert_to_tensor(self.embeddings)
            return inputs + ops.take(table, places(segments), axis=0)
        # `ops.slice`, because a table that is cut over parameter servers does not take an index of
        # a tensor.
        length, width = ops.shape(inputs)[1], self.embeddings.shape[1]
        return inputs + ops.slice(ops.convert_to_tensor(self.embeddings), (0, 0), (length, width))

    def get_config(self):
        initializer = keras.initializers.serialize(self.initializer)
        return {
            **super().get_config(),
            "context_length": self.context_length,
            "initializer": initializer,
        }


@dataclass(frozen=True)
class BlockOptions:
    """Options of a `TransformerBlock`; those of its attention are as in `CausalSelfAttention`.

    Attributes:
        feed_forward_dim: F, units of the feed-forward layer.
        dropout: rate on the attention weights and on both sums.
        num_layers: blocks of the stack, which decides the initial weights.
        seed: of the initial weights.
        feed_forward_rank: rank of the two feed-forward matrices; 0 is full rank.
        normalization: "layer" or "rms".
        attention_soft_cap: bound of the attention scores; 0 has none.
        activation: a key of `ACTIVATIONS` or of `GATES`.
        residual_initializer: of the matrices whose output is added: "scaled" or "zeros".
        sandwich_norm: whether what both layers give is normalized before it is added.
    """

    hidden_dim: int
    num_heads: int
    feed_forward_dim: int
    dropout: float = 0.0
    use_bias: bool = False
    num_layers: int = 1
    seed: int = 0
    head_dim: int = 0
    feed_forward_rank: int = 0
    num_kv_heads: int = 0
    rope_base: float = 0.0
    window: int = 0
    normalization: str = "layer"
    activation: str = "gelu"
    norm_epsilon: float = 1e-5
    causal: bool = True
    global_tokens: int = 0
    query_key_norm: bool = False
    attention_soft_cap: float = 0.0
    residual_initializer: str = "scaled"
    rope: RopeOptions = RopeOptions()
    query_scale_dim: int = 0
    query_key_value_bias: bool = False
    sandwich_norm: bool = False

    def residual_initializers(self, seed: int) -> Iterator[keras.initializers.Initializer]:
        """Returns endless initializers of matrices whose output is added to the residual stream.

        Scaled as in GPT-2, they start smaller by the square root of the number of additions; with
        zeros a block starts as the identity (Zhang et al. 2019, Fixup).
        """
        if self.residual_initializer == "zeros":
            return itertools.repeat(keras.initializers.Zeros())
        return normal_initializers(seed, 0.02 / math.sqrt(2 * self.num_layers))

    def norm(self, name: str, policy: keras.dtype_policies.DTypePolicy) -> keras.layers.Layer:
        """Returns a new normalization layer."""
        return norm_layer(self.normalization, self.use_bias, policy, name, self.norm_epsilon)


@keras.saving.register_keras_serializable("tfscale")
class TransformerBlock(keras.layers.Layer):
    """Pre-norm block: x + attention(norm(x)), then x + feed_forward(norm(x)); (B, T, D) -> (B, T,
    D).

    The feed-forward layer is contract(f(expand(x))) with an activation f, or with a gate
    contract(f(gate) * up), where gate and up are the two halves of expand(x) (Shazeer 2020).
    """

    def __init__(self, options: BlockOptions, **kwargs: object):
        super().__init__(**kwargs)
        self.options = options
        hidden_dim, use_bias = options.hidden_dim, options.use_bias
        gated = options.activation in GATES
        initial = normal_initializers(options.seed)
        residual = options.residual_initializers(options.seed + 1)
        policy = self.dtype_policy
        self.attention_norm = options.norm("attention_norm", policy)
        self.attention = CausalSelfAttention(
            hidden_dim,
            options.num_heads,
            options.dropout,
            use_bias,
            next(initial),
            next(residual),
            options.head_dim,
            options.num_kv_heads,
            options.rope_base,
            options.window,
            options.causal,
            options.global_tokens,
            options.query_key_norm,
            options.norm_epsilon,
            options.attention_soft_cap,
            options.rope,
            options.query_scale_dim,
            options.query_key_value_bias,
            dtype=policy,
            name="attention",
        )
        self.feed_forward_norm = options.norm("feed_forward_norm", policy)
        self.expand = keras.layers.Dense(
            options.feed_forward_dim * (2 if gated else 1),
            use_bias=use_bias,
            activation=None if gated else ACTIVATIONS[options.activation],
            kernel_initializer=next(initial),
            dtype=policy,
            name="expand",
        )
        self.contract = keras.layers.Dense(
            hidden_dim,
            use_bias=use_bias,
            kernel_initializer=next(residual),
            dtype=policy,
            name="contract",
        )
        self.attention_output_norm, self.feed_forward_output_norm = (
            options.norm(name, policy) if options.sandwich_norm else None
            for name in ("attention_output_norm", "feed_forward_output_norm")
        )
        self.residual_dropout = Dropout(options.dropout, dtype=policy)
        # Of low rank, each matrix of the feed-forward layer is a narrow one before a wide one.
        self.before_expand: keras.layers.Layer | None = None
        self.before_contract: keras.layers.Layer | None = None
        if options.feed_forward_rank:
            self.before_expand, self.before_contract = (
                keras.layers.Dense(
                    options.feed_forward_rank,
                    use_bias=False,
                    kernel_initializer=next(initial),
                    dtype=policy,
                    name=name,
                )
                for name in ("before_expand", "before_contract")
            )

    def build(self, input_shape):
        for layer in (self.attention_norm, self.attention, self.feed_forward_norm):
            layer.build(input_shape)
        for norm in (self.attention_output_norm, self.feed_forward_output_norm):
            if norm is not None:
                norm.build(input_shape)
        inner = (*input_shape[:-1], self.options.feed_forward_dim)
        narrow = (*input_shape[:-1], self.options.feed_forward_rank)
        if self.before_expand is not None and self.before_contract is not None:
            self.before_expand.build(input_shape)
            self.before_contract.build(inner)
        self.expand.build(input_shape if self.before_expand is None else narrow)
        self.contract.build(inner if self.before_contract is None else narrow)

    def compute_output_shape(self, x_shape):
        # Without it Keras would trace every block of a new network to learn a shape.
        return x_shape

    def call(self, x, training=False, visible=None, segments=None):
        return self.fed_forward(self.attended(x, training, visible, segments), training)

    def attended(self, x, training=False, visible=None, segments=None):
        """x + attention(norm(x)), or x + norm(attention(norm(x))) with `sandwich_norm`; `visible`
        and `segments` as in `CausalSelfAttention`."""
        attended = self.attention(
            self.attention_norm(x), training=training, visible=visible, segments=segments
        )
        if self.attention_output_norm is not None:
            attended = self.attention_output_norm(attended)
        return x + self.residual_dropout(attended, training=training)

    def fed_forward(self, x, training=False):
        """x + feed_forward(norm(x)), normalized as in `attended`."""
        forwarded = self.feed_forward_norm(x)
        for layer in self.feed_forward_layers:
            forwarded = layer(forwarded)
            if layer is self.expand and self.options.activation in GATES:
                gate, up = ops.split(forwarded, 2, axis=-1)
                forwarded = GATES[self.options.activation](gate) * up
        if self.feed_forward_output_norm is not None:
            forwarded = self.feed_forward_output_norm(forwarded)
        return x + self.residual_dropout(forwarded, training=training)

    @property
    def feed_forward_layers(self):
        """The dense layers of the feed-forward part, in order."""
        layers = (self.before_expand, self.expand, self.before_contract, self.contract)
        return [layer for layer in layers if layer is not None]

    def cached(self, x, key_cache, value_cache, input_pos, mask):
        """The block with its caches; see `CausalSelfAttention.cached`."""
        x, key_cache, value_cache = self.cached_attended(x, key_cache, value_cache, input_pos, mask)
        return self.cached_fed_forward(x), key_cache, value_cache

    def cached_attended(self, x, key_cache, value_cache, input_pos, mask):
        """`attended` with caches; returns them too."""
        normed = cached_norm(self.attention_norm, x)
        attended, key_cache, value_cache = self.attention.cached(
            normed, key_cache, value_cache, input_pos, mask
        )
        if self.attention_output_norm is not None:
            attended = cached_norm(self.attention_output_norm, attended)
        return x + attended, key_cache, value_cache

    def cached_fed_forward(self, x):
        """`fed_forward` in float32."""
        forwarded = cached_norm(self.feed_forward_norm, x)
        for layer in self.feed_forward_layers:
            forwarded = cached_dense(layer, forwarded)
            if layer is self.expand:
                forwarded = cached_activation(self.options.activation, forwarded)
        if self.feed_forward_output_norm is not None:
            forwarded = cached_norm(self.feed_forward_output_norm, forwarded)
        return x + forwarded

    def get_config(self):
        return {**super().get_config(), **dataclasses.asdict(self.options)}

    @classmethod
    def from_config(cls, config: KerasConfig) -> "TransformerBlock":
        names = [field.name for field in dataclasses.fields(BlockOptions) if field.name in config]
        options = {name: config.pop(name) for name in names}
        options["rope"] = RopeOptions(**options.get("rope", {}))
        return super().from_config({**config, "options": BlockOptions(**options)})


def norm_layer(
    kind: str,
    use_bias: bool,
    policy: keras.dtype_policies.DTypePolicy,
    name: str,
    epsilon: float = 1e-5,
) -> keras.layers.Layer:
    """Layer normalization ("layer", Ba et al. 2016), or RMS normalization ("rms", Zhang and
    Sennrich 2019)."""
    if kind == "rms":
        return keras.layers.RMSNormalization(epsilon=epsilon, dtype=policy, name=name)
    return keras.layers.LayerNormalization(
        epsilon=epsilon, center=use_bias, dtype=policy, name=name
    )
