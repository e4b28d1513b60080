"""Decoder-only Transformer, in the manner of GPT-2 (Radford et al. 2019) or of Llama (Touvron et
al. 2023).

Shapes: B batch, T tokens, D hidden_dim, V vocabulary, C context (`sequence_length`), G key-value
heads, K width of a head.
"""

from typing import Any

import keras
import tensorflow as tf

from tfscale.config import Precision, TransformerConfig
from tfscale.models.cached import cached_dense, cached_logits, cached_norm, variable
from tfscale.models.dropout import Dropout
from tfscale.models.layers import (
    PositionEmbedding,
    TransformerBlock,
    norm_layer,
    normal_initializers,
)
from tfscale.models.network import LanguageNetwork
from tfscale.models.remat import rematerialized
from tfscale.registry import register


class TransformerNetwork(LanguageNetwork):
    """Embedding, blocks and output table: what a Transformer is, whichever way its tokens look.

    Args:
        config: the architecture; `vocabulary_size` must be set.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights.
    """

    causal = True
    """Whether a token sees those before it alone."""

    config_class = TransformerConfig

    def __init__(
        self,
        config: TransformerConfig,
        precision: Precision = "float32",
        seed: int = 0,
        name: str = "transformer",
    ):
        self.check_vocabulary(config)
        policy = keras.dtype_policies.DTypePolicy(precision)
        initial = normal_initializers(seed)
        token_embedding = keras.layers.ReversibleEmbedding(
            config.table_rows,
            config.embedding_rank or config.hidden_dim,
            tie_weights=config.tie_embeddings,
            embeddings_initializer=next(initial),
            dtype=policy,
            name="token_embedding",
        )
        position_initializer = next(initial)
        position_embedding: Any = None
        if config.positions == "learned":
            position_embedding = PositionEmbedding(
                config.sequence_length,
                position_initializer,
                dtype=policy,
                name="position_embedding",
            )
        blocks = [
            TransformerBlock(
                config.hidden_dim,
                config.num_heads,
                config.feed_forward_width,
                config.dropout,
                config.use_bias,
                config.num_layers,
                seed=seed + 1000 * (index + 1),
                head_dim=config.head_dim,
                feed_forward_rank=config.feed_forward_rank,
                num_kv_heads=config.num_kv_heads,
                window=config.attention_window,
                rope_base=config.rope_base if config.positions == "rope" else 0.0,
                normalization=config.normalization,
                activation=config.activation,
                norm_epsilon=config.norm_epsilon,
                causal=self.causal,
                global_tokens=config.global_tokens,
                dtype=policy,
                name=f"block_{index}",
            )
            for index in range(config.num_layers)
        ]
        final_norm = norm_layer(
            config.normalization, config.use_bias, policy, "final_norm", config.norm_epsilon
        )
        widen: Any = None
        narrow: Any = None
        if config.embedding_rank:
            widen, narrow = (
                keras.layers.Dense(
                    width, use_bias=False, kernel_initializer=next(initial), dtype=policy, name=name
                )
                for width, name in ((config.hidden_dim, "widen"), (config.embedding_rank, "narrow"))
            )

        embedding_dropout = Dropout(config.dropout, dtype=policy, name="embedding_dropout")
        logits_layer = keras.layers.Activation("linear", dtype="float32", name="logits")

        inputs = keras.Input((None,), dtype="int32", name="tokens")
        x = token_embedding(inputs)
        x = scaled(x if widen is None else widen(x), config)
        x = embedding_dropout(x if position_embedding is None else position_embedding(x))
        for block in blocks:
            x = block(x)
        x = final_norm(x)
        logits = token_embedding(x if narrow is None else narrow(x), reverse=True)
        logits = logits_layer(_of_vocabulary(logits, config))
        super().__init__(inputs=inputs, outputs=logits, name=name)
        self.config = config
        self.precision = precision
        self.seed = seed
        self.token_embedding = token_embedding
        self.position_embedding = position_embedding
        self.blocks = blocks
        self.final_norm = final_norm
        self.widen, self.narrow = widen, narrow

    def hidden_states(
        self,
        ids: tf.Tensor,
        training: bool = False,
        remat: bool = False,
        visible: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """What the output projection reads: ids (B, T) int32 -> (B, T, width of the embedding) in
        the compute type.

        Args:
            ids: token ids.
            training: whether dropout is on.
            remat: compute the blocks' activations again in the backward pass; see
                `tfscale.models.remat`.
            visible: who sees whom, in the place of the past alone; see `CausalSelfAttention`. Not
                with `remat`.
        """
        x = self.token_embedding(ids)
        x = scaled(x if self.widen is None else self.widen(x), self.config)
        x = x if self.position_embedding is None else self.position_embedding(x)
        x = self.get_layer("embedding_dropout")(x, training=training)
        for block in self.blocks:
            x = (
                rematerialized(block, x, training)
                if remat
                else block(x, training=training, visible=visible)
            )
        x = self.final_norm(x)
        return x if self.narrow is None else self.narrow(x)

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden states (..., D) -> logits (..., V) float32, so that project(hidden_states(ids)) is
        network(ids)."""
        return self.get_layer("logits")(
            _of_vocabulary(self.token_embedding(hidden, reverse=True), self.config)
        )

    @property
    def output_variables(self) -> list[keras.Variable]:
        """The weights that `project` reads."""
        embedding = self.token_embedding
        return [
            embedding.embeddings if self.config.tie_embeddings else embedding.reverse_embeddings
        ]

    @staticmethod
    def parameter_count(config: TransformerConfig) -> int:
        """Trainable weights of a model with this config."""
        d, f, bias = config.hidden_dim, config.feed_forward_width, config.use_bias
        inner, rank, width = (
            config.num_heads * config.head_width,
            config.feed_forward_rank,
            config.embedding_rank,
        )
        norm = d if config.normalization == "rms" else d * (1 + bias)
        keys = config.kv_heads * config.head_width
        attention = 2 * d * (inner + keys) + bias * (inner + 2 * keys + d)
        # What the first matrix of the feed-forward layer gives: with SwiGLU also a gate for each
        # unit.
        wide = 2 * f if config.gated else f
        feed_forward = (rank * (2 * d + wide + f) if rank else d * (wide + f)) + bias * (wide + d)
        tables = config.table_rows * (width or d) * (1 if config.tie_embeddings else 2)
        embeddings = (
            tables
            + 2 * width * d
            + (config.sequence_length * d if config.positions == "learned" else 0)
        )
        return embeddings + config.num_layers * (attention + feed_forward + 2 * norm) + norm


@register
class TransformerLM(TransformerNetwork):
    """Token ids (B, T) int32 -> logits (B, T, V) float32; the logits at t depend on the ids up to t
    only.

    Args:
        config: the architecture; `vocabulary_size` must be set.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights.

    Example:
        network = TransformerLM(TransformerConfig(vocabulary_size=256, sequence_length=64))
        logits = network(tf.zeros((8, 64), tf.int32))  # (8, 64, 256)
    """

    config_class = TransformerConfig
    decodes = "cache"

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes (1, C, G, K) of the key and value caches; all float32, zeros at the
        start."""
        c = self.config
        shape = (1, c.sequence_length, c.kv_heads, c.head_width)
        return {f"kv_cache_{kind}_{i}": shape for i in range(c.num_layers) for kind in "kv"}

    def cached_step(
        self,
        tokens: tf.Tensor,
        cache: dict[str, tf.Tensor],
        *,
        input_pos: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        with_logits: bool = True,
        positions: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor | None, dict[str, tf.Tensor]]:
        """Reads S tokens of each of B sequences into the cache, in float32.

        Args:
            tokens: ids (B, S) int32; B is known, and 1 in an exported file.
            cache: tensors as in `cache_spec`, with B rows.
            input_pos: positions (S,) int32, consecutive; the cache is written from `input_pos[0]`
                on.
            mask: (1 or B, 1, S, C) float32, added to the scores: 0 where a position may be seen,
                very negative elsewhere.
            with_logits: whether to compute the logits, which a prompt needs for its last token
                only.
            positions: (B, S) int32 with which learned positions are looked up, where sequences do
                not begin at the same place of the cache; `input_pos` if left out.

        Returns:
            Logits (B, S, V), or None, and the new cache.
        """
        rows, length = tokens.shape
        width = self.config.hidden_dim
        embedded = tf.gather(
            variable(self.token_embedding.embeddings), tf.reshape(tokens, (rows * length,))
        )
        if self.widen is not None:
            embedded = cached_dense(self.widen, embedded)
        embedded = scaled(embedded, self.config)
        if self.position_embedding is not None:
            places = input_pos if positions is None else tf.reshape(positions, (rows * length,))
            embedded += tf.gather(variable(self.position_embedding.embeddings), places)
        x = tf.reshape(embedded, (rows, length, width))
        cache = dict(cache)
        for i, block in enumerate(self.blocks):
            key, value = f"kv_cache_k_{i}", f"kv_cache_v_{i}"
            x, cache[key], cache[value] = block.cached(x, cache[key], cache[value], input_pos, mask)
        if not with_logits:
            return None, cache
        x = tf.reshape(cached_norm(self.final_norm, x), (rows * length, width))
        logits = cached_logits(self.token_embedding, self.narrow, x)
        return tf.reshape(logits, (rows, length, self.config.vocabulary_size)), cache


def _of_vocabulary(logits: Any, config: TransformerConfig) -> Any:
    """Logits of tokens: what the table has besides is never predicted."""
    return (
        logits
        if config.table_rows == config.vocabulary_size
        else logits[..., : config.vocabulary_size]
    )


def scaled(embedded: Any, config: TransformerConfig) -> Any:
    """Embedded tokens as the first block reads them, before positions are added."""
    if not config.scale_embeddings:
        return embedded
    factor = config.hidden_dim**0.5
    if isinstance(embedded, keras.KerasTensor):
        # Keras marks the product of a symbolic tensor and a number as sparse, which no layer after
        # it takes.
        return keras.layers.Rescaling(factor, dtype=embedded.dtype)(embedded)
    return embedded * factor
