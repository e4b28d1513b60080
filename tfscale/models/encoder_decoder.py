"""Encoder-decoder Transformer (Vaswani et al. 2017) whose stacks begin as those of a language model.

Embeddings, self-attention, feed-forward layers and norms of both stacks start from the run's weights, cross-attention
is new (Rothe et al. 2020). Blocks are pre-norm, like the run's. Cross-attention has no positions of its own.

Shapes: B batch, S tokens of the source part, U of the target part, D hidden_dim, H query heads, G key-value heads,
R = H / G, K width of a head, V vocabulary.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfscale.config import Precision, TransformerConfig, to_dict
from tfscale.models.attention import MASKED
from tfscale.models.dropout import Dropout
from tfscale.models.layers import PositionEmbedding, TransformerBlock, norm_layer, normal_initializers
from tfscale.models.prefix import check_base, up_to_end
from tfscale.models.transformer import TransformerLM

_SHARED = ("attention_norm", "attention", "feed_forward_norm", "before_expand", "expand", "before_contract", "contract")
"""Layers of a block that start from the run's."""


@keras.saving.register_keras_serializable("tfscale")
class CrossAttention(keras.layers.Layer):
    """Attention of each token of the target to the source: (B, U, D) and memory (B, S, D) -> (B, U, D).

    Args:
        hidden_dim: D.
        num_heads: H.
        num_kv_heads: G.
        head_dim: K.
        dropout: rate on the attention weights.
        use_bias: biases in the dense layers.
        seed: seed of the initial weights.
        num_layers: blocks of the stack.
    """

    def __init__(self, hidden_dim, num_heads, num_kv_heads, head_dim, dropout, use_bias, seed, num_layers, **kwargs):
        super().__init__(**kwargs)
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, head_dim
        initial = normal_initializers(seed)
        residual = normal_initializers(seed + 1, 0.02 / (2 * num_layers) ** 0.5)
        self.query, self.key_value, self.output_projection = (
            keras.layers.Dense(
                width, use_bias=use_bias, kernel_initializer=next(source), dtype=self.dtype_policy, name=name
            )
            for width, source, name in (
                (num_heads * head_dim, initial, "query"), (2 * num_kv_heads * head_dim, initial, "key_value"),
                (hidden_dim, residual, "output_projection"),
            )
        )  # fmt: skip
        self.attention_dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.query.build(input_shape)
        self.key_value.build(input_shape)
        self.output_projection.build((*input_shape[:-1], self.num_heads * self.head_dim))

    def call(self, inputs, memory, visible, training=False):
        """`visible` (B, S) float32 is 1 where there is a token of the source and 0 where there is padding."""
        heads, groups, width = self.num_heads, self.num_kv_heads, self.head_dim
        length, source = ops.shape(inputs)[1], ops.shape(memory)[1]
        query = ops.reshape(self.query(inputs) * width**-0.5, (-1, length, heads, width))
        # R query heads of a key head are rows of one product.
        query = ops.reshape(ops.transpose(query, (0, 2, 1, 3)), (-1, groups, heads // groups * length, width))
        key_value = ops.reshape(self.key_value(memory), (-1, source, 2 * groups, width))
        key, value = key_value[:, :, :groups], key_value[:, :, groups:]
        scores = ops.matmul(query, ops.transpose(key, (0, 2, 3, 1)))
        hidden = (1.0 - visible)[:, None, None]
        weights = ops.softmax(ops.cast(scores, "float32") + hidden * MASKED, axis=-1)
        weights = self.attention_dropout(ops.cast(weights, self.compute_dtype), training=training)
        mixed = ops.matmul(weights, ops.transpose(value, (0, 2, 1, 3)))
        mixed = ops.transpose(ops.reshape(mixed, (-1, heads, length, width)), (0, 2, 1, 3))
        return self.output_projection(ops.reshape(mixed, (-1, length, heads * width)))


@keras.saving.register_keras_serializable("tfscale")
class DecoderBlock(TransformerBlock):
    """A block with attention to the source between its own and the feed-forward layer; (B, U, D) -> (B, U, D)."""

    def __init__(self, hidden_dim, num_heads, feed_forward_dim, **kwargs):
        super().__init__(hidden_dim, num_heads, feed_forward_dim, **kwargs)
        options = self.options
        self.cross_norm = norm_layer(options["normalization"], options["use_bias"], self.dtype_policy, "cross_norm")
        self.cross_attention = CrossAttention(
            hidden_dim, num_heads, self.attention.num_kv_heads, self.attention.head_dim, options["dropout"],
            options["use_bias"], options["seed"] + 500, options["num_layers"], dtype=self.dtype_policy,
            name="cross_attention",
        )  # fmt: skip

    def build(self, input_shape):
        super().build(input_shape)
        self.cross_norm.build(input_shape)
        self.cross_attention.build(input_shape)

    def call(self, x, memory, source_visible, training=False):  # type: ignore[override]
        x = self.attended(x, training)
        crossed = self.cross_attention(self.cross_norm(x), memory, source_visible, training=training)
        return self.fed_forward(x + self.residual_dropout(crossed, training=training), training)


@keras.saving.register_keras_serializable("tfscale")
class EncoderDecoder(keras.Model):
    """Token ids (B, S + U) int32 -> logits (B, U, V) float32 of the token after each of the target part.

    The source part is the end token, the source, and end tokens up to S; those after the first are not seen. The target
    part is the end token, the target, and end tokens up to U.

    Args:
        config: the sizes of both stacks, without a sliding window.
        source_length: S.
        end_id: the end token.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights.

    Example:
        network = EncoderDecoder(run.model_config, source_length=64, end_id=run.tokenizer.end_id)
        network.start_from(run.network)
    """

    def __init__(
        self, config: TransformerConfig, *, source_length: int, end_id: int, precision: Precision = "float32",
        seed: int = 0, name: str = "encoder_decoder",
    ):  # fmt: skip
        super().__init__(name=name)
        self.config, self.source_length, self.end_id = config, source_length, end_id
        self.precision, self.seed = precision, seed
        policy = keras.dtype_policies.DTypePolicy(precision)
        initial = normal_initializers(seed)
        width = config.embedding_rank or config.hidden_dim
        self.token_embedding = keras.layers.ReversibleEmbedding(
            config.vocabulary_size, width, tie_weights=config.tie_embeddings, embeddings_initializer=next(initial),
            dtype=policy, name="token_embedding",
        )  # fmt: skip
        self.widen: Any = None
        self.narrow: Any = None
        if config.embedding_rank:
            self.widen, self.narrow = (
                keras.layers.Dense(units, use_bias=False, kernel_initializer=next(initial), dtype=policy, name=name)
                for units, name in ((config.hidden_dim, "widen"), (width, "narrow"))
            )
        # Each stack has positions of its own, which begin at 0.
        self.positions: list[Any] = [
            PositionEmbedding(config.sequence_length, next(initial), dtype=policy, name=f"{stack}_positions")
            for stack in ("encoder", "decoder")
            if config.positions == "learned"
        ]
        self.embedding_dropout = Dropout(config.dropout, dtype=policy, name="embedding_dropout")
        options = {
            "dropout": config.dropout, "use_bias": config.use_bias, "num_layers": config.num_layers,
            "head_dim": config.head_dim, "feed_forward_rank": config.feed_forward_rank,
            "num_kv_heads": config.num_kv_heads, "normalization": config.normalization,
            "rope_base": config.rope_base if config.positions == "rope" else 0.0, "activation": config.activation,
            "dtype": policy,
        }  # fmt: skip
        sizes = (config.hidden_dim, config.num_heads, config.feed_forward_width)
        self.encoder_blocks, self.decoder_blocks = (
            [
                kind(*sizes, seed=seed + 1000 * (first + index), name=f"{stack}_{index}", **options)
                for index in range(config.num_layers)
            ]
            for kind, stack, first in (
                (TransformerBlock, "encoder", 1), (DecoderBlock, "decoder", 1 + config.num_layers)
            )
        )  # fmt: skip
        self.encoder_norm, self.decoder_norm = (
            norm_layer(config.normalization, config.use_bias, policy, name) for name in ("encoder_norm", "decoder_norm")
        )
        self.logits = keras.layers.Activation("linear", dtype="float32", name="logits")
        self._build_layers(width)

    def _build_layers(self, width: int) -> None:
        wide = (None, None, self.config.hidden_dim)
        self.token_embedding.build((None, None))
        if self.widen is not None:
            self.widen.build((None, None, width))
            self.narrow.build(wide)
        blocks = [*self.encoder_blocks, *self.decoder_blocks]
        for layer in (*self.positions, *blocks, self.encoder_norm, self.decoder_norm):
            layer.build(wide)
        self.built = True

    def call(self, ids, training=False):
        return self.project(self.hidden_states(ids, training))

    def hidden_states(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What `project` reads: ids (B, S + U) int32 -> (B, U, width) in the compute type."""
        source, target = ids[:, : self.source_length], ids[:, self.source_length :]
        return self.decode(target, *self.encode(source, training), training)

    def encode(self, source: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Source part (B, S) int32 -> what the decoder attends to (B, S, D), and where it is no padding (B, S)."""
        visible = up_to_end(source, self.end_id)
        x = self._embedded(source, 0, training)
        for block in self.encoder_blocks:
            x = block(x, training=training, visible=visible[:, None, :])
        return self.encoder_norm(x), visible

    def decode(self, target: tf.Tensor, memory: tf.Tensor, visible: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Target part (B, U) int32 and what `encode` gives -> hidden states (B, U, width)."""
        x = self._embedded(target, 1, training)
        for block in self.decoder_blocks:
            x = block(x, memory, visible, training=training)
        x = self.decoder_norm(x)
        return x if self.narrow is None else self.narrow(x)

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden states (..., width) -> logits (..., V) float32."""
        return self.logits(self.token_embedding(hidden, reverse=True))

    def _embedded(self, ids, stack, training):
        x = self.token_embedding(ids)
        x = x if self.widen is None else self.widen(x)
        x = self.positions[stack](x) if self.positions else x
        return self.embedding_dropout(x, training=training)

    def start_from(self, base: TransformerLM) -> None:
        """Takes a language model's weights for all but the cross-attention.

        Args:
            base: a network of the same sizes.

        Raises:
            ConfigError: it is no Transformer, or has a window.
        """
        check_base(base, "encoder_decoder")
        pairs: list[tuple[Any, Any]] = [(self.token_embedding, base.token_embedding), (self.widen, base.widen),
                                        (self.narrow, base.narrow)]  # fmt: skip
        pairs += [(positions, base.position_embedding) for positions in self.positions]
        pairs += [(norm, base.final_norm) for norm in (self.encoder_norm, self.decoder_norm)]
        for stack in (self.encoder_blocks, self.decoder_blocks):
            for block, theirs in zip(stack, base.blocks, strict=True):
                pairs += [(getattr(block, name), getattr(theirs, name)) for name in _SHARED]
        for ours, its in pairs:
            if ours is not None:
                ours.set_weights(its.get_weights())

    def get_config(self) -> dict[str, Any]:
        return {
            "config": to_dict(self.config), "source_length": self.source_length, "end_id": self.end_id,
            "precision": self.precision, "seed": self.seed, "name": self.name,
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> "EncoderDecoder":
        return cls(TransformerConfig(**config.pop("config")), **config)
