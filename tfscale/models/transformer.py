"""Decoder-only Transformer, in the manner of GPT-2 (Radford et al. 2019) or of Llama (Touvron et
al. 2023).

Shapes: B batch, T tokens, D hidden_dim, V vocabulary, C context (`sequence_length`), G key-value
heads, K width of a head.
"""

import keras
import numpy as np
import tensorflow as tf

from tfscale.config import Precision, TransformerConfig
from tfscale.models import transformer_sizes
from tfscale.models.body import Body, BodyNetwork
from tfscale.models.cached import cached_dense, cached_logits, cached_norm, rows_of
from tfscale.models.documents import Documents
from tfscale.models.dropout import Dropout
from tfscale.models.layers import (
    BlockOptions,
    PositionEmbedding,
    TransformerBlock,
    norm_layer,
    normal_initializers,
)
from tfscale.models.outer_layers import (
    logits_layer,
    narrow_layers,
    residual_mixes,
    scaled,
    token_table,
)
from tfscale.models.remat import rematerialized
from tfscale.models.shrinking import UnitGroup
from tfscale.registry import register


class TransformerNetwork(BodyNetwork):
    """Embedding, blocks and output table of a Transformer, whichever way its tokens look.

    Args:
        config: the architecture; `vocabulary_size` must be set.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights.
    """

    causal = True
    """Whether a token sees only those before it."""

    config_class = TransformerConfig
    config: TransformerConfig
    body: "_Body"

    def __init__(
        self,
        config: TransformerConfig,
        precision: Precision = "float32",
        seed: int = 0,
        name: str = "transformer",
    ):
        body = _Body(config, precision, seed, self.causal)
        super().__init__(config, body, precision, seed, name)
        # The paths of weights in Keras files are made of these names.
        self.position_embedding = body.position_embedding
        self.blocks = body.blocks
        self.mixes = body.mixes
        self.final_norm = body.final_norm
        self.widen = body.widen
        self.narrow = body.narrow

    def hidden_states(
        self,
        ids: tf.Tensor,
        training: bool = False,
        remat: bool = False,
        documents: Documents | None = None,
        visible: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """As in `LanguageNetwork`; (B, T, E), E the width of the embedding.

        Args:
            ids: token ids.
            training: whether dropout is on.
            remat: compute the blocks' activations again in the backward pass.
            documents: where `separates`.
            visible: who sees whom, instead of the past alone; see `CausalSelfAttention`. Not with
                `remat`.
        """
        return self.body.hidden_states(ids, training, remat, documents, visible)

    @property
    def output_variables(self) -> list[keras.Variable]:
        table = self.token_embedding
        return [table.embeddings if self.config.tie_embeddings else table.reverse_embeddings]


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
    attends = True
    separates = True

    def unit_groups(self, size: str, count: int) -> list[UnitGroup]:
        return transformer_sizes.unit_groups(self, size, count)

    def factors(self, size: str, rank: int) -> dict[str, np.ndarray] | None:
        return transformer_sizes.factors(self, size, rank)

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
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
        with_hidden: bool = False,
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
            with_hidden: whether to return the hidden states instead of the logits.
            positions: (B, S) int32 with which learned positions are looked up, where sequences do
                not begin at the same place of the cache; `input_pos` if left out.

        Returns:
            Logits (B, S, V), or hidden states (B, S, D), or None, and the new cache.
        """
        rows, length = tokens.shape
        width = self.config.hidden_dim
        embedded = rows_of(self.token_embedding.embeddings, tf.reshape(tokens, (rows * length,)))
        if self.widen is not None:
            embedded = cached_dense(self.widen, embedded)
        embedded = scaled(embedded, self.config)
        if self.position_embedding is not None:
            places = input_pos if positions is None else tf.reshape(positions, (rows * length,))
            embedded += rows_of(self.position_embedding.embeddings, places)
        x = tf.reshape(embedded, (rows, length, width))
        first = x
        cache = dict(cache)
        for i, (mix, block) in enumerate(zip(self.mixes, self.blocks, strict=True)):
            key, value = f"kv_cache_k_{i}", f"kv_cache_v_{i}"
            x = x if mix is None else mix.cached(x, first)
            x, cache[key], cache[value] = block.cached(x, cache[key], cache[value], input_pos, mask)
        if not (with_logits or with_hidden):
            return None, cache
        x = tf.reshape(cached_norm(self.final_norm, x), (rows * length, width))
        if with_hidden:
            hidden = x if self.narrow is None else cached_dense(self.narrow, x)
            return tf.reshape(hidden, (rows, length, hidden.shape[-1])), cache
        logits = cached_logits(self.token_embedding, self.narrow, x, self.config.logit_soft_cap)
        return tf.reshape(logits, (rows, length, self.config.vocabulary_size)), cache


class _Body(Body):
    config: TransformerConfig

    def __init__(self, config: TransformerConfig, precision: Precision, seed: int, causal: bool):
        super().__init__(config, precision, seed)
        policy, initial = self.policy, normal_initializers(seed)
        self.token_embedding = token_table(config, next(initial), policy)
        position_initializer = next(initial)
        self.position_embedding: PositionEmbedding | None = None
        if config.positions == "learned":
            self.position_embedding = PositionEmbedding(
                config.sequence_length,
                position_initializer,
                dtype=policy,
                name="position_embedding",
            )
        self.blocks = [
            TransformerBlock(
                block_options(config, index, seed + 1000 * (index + 1), causal=causal),
                dtype=policy,
                name=f"block_{index}",
            )
            for index in range(config.num_layers)
        ]
        self.mixes = residual_mixes(config, policy)
        self.final_norm = norm_layer(
            config.normalization, config.use_bias, policy, "final_norm", config.norm_epsilon
        )
        self.widen, self.narrow = narrow_layers(config, initial, policy)
        self.embedding_dropout = Dropout(config.dropout, dtype=policy, name="embedding_dropout")
        self.logits = logits_layer(config)

    def hidden_states(self, ids, training=None, remat=False, documents=None, visible=None):
        segments = {} if documents is None else {"segments": documents.segments(ids)}
        restart = documents is not None and documents.positions == "restart"
        x = self.token_embedding(ids)
        x = scaled(x if self.widen is None else self.widen(x), self.config)
        if self.position_embedding is not None:
            x = self.position_embedding(x, **(segments if restart else {}))
        x = embedded = self.embedding_dropout(x, training=training)
        for mix, block in zip(self.mixes, self.blocks, strict=True):
            x = x if mix is None else mix(x, embedded)
            if remat:
                x = rematerialized(block, x, training, **segments)
            else:
                x = block(x, training=training, visible=visible, **segments)
        x = self.final_norm(x)
        return x if self.narrow is None else self.narrow(x)

    def project(self, hidden):
        logits, tokens = self.token_embedding(hidden, reverse=True), self.config.vocabulary_size
        # What the table has besides the vocabulary is never predicted.
        return self.logits(logits if self.config.table_rows == tokens else logits[..., :tokens])


def block_options(
    config: TransformerConfig, layer: int, seed: int, *, causal: bool = True
) -> BlockOptions:
    """Returns the options of a block of a Transformer.

    Args:
        config: the architecture.
        layer: number of the block from 0.
        seed: of the block's initial weights.
        causal: whether a token sees only those before it.
    """
    rope_base, rope = config.rope_of(layer)
    return BlockOptions(
        hidden_dim=config.hidden_dim,
        num_heads=config.num_heads,
        feed_forward_dim=config.feed_forward_width,
        dropout=config.dropout,
        use_bias=config.use_bias,
        num_layers=config.num_layers,
        seed=seed,
        head_dim=config.head_dim,
        feed_forward_rank=config.feed_forward_rank,
        num_kv_heads=config.num_kv_heads,
        rope_base=rope_base,
        rope=rope,
        normalization=config.normalization,
        activation=config.activation,
        norm_epsilon=config.norm_epsilon,
        window=config.window_of(layer),
        global_tokens=config.global_tokens if config.window_of(layer) else 0,
        causal=causal,
        query_key_norm=config.query_key_norm,
        query_scale_dim=config.query_scale_dim,
        query_key_value_bias=config.query_key_value_bias,
        attention_soft_cap=config.attention_soft_cap,
        residual_initializer=config.residual_initializer,
        sandwich_norm=config.sandwich_norm,
    )
