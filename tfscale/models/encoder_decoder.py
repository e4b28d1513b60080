"""Encoder-decoder Transformer (Vaswani et al. 2017) whose stacks begin as those of a language
model.

Embeddings, self-attention, feed-forward layers and norms of both stacks start from the run's
weights, cross-attention is new (Rothe et al. 2020). Blocks are pre-norm, like the run's.
Cross-attention has no positions of its own.

Shapes: B batch, S tokens of the source part, U of the target part, D hidden_dim, V vocabulary.
"""

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import KerasConfig
from tfscale.config import Precision, TransformerConfig, to_dict
from tfscale.models.cached_stacks import CachedStacks
from tfscale.models.cross_attention import DecoderBlock
from tfscale.models.dropout import Dropout
from tfscale.models.layers import (
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
from tfscale.models.prefix import check_base, up_to_end
from tfscale.models.transformer import TransformerLM, block_options

_SHARED = (
    "attention_norm",
    "attention",
    "feed_forward_norm",
    "before_expand",
    "expand",
    "before_contract",
    "contract",
    "attention_output_norm",
    "feed_forward_output_norm",
)
"""Layers of a block that start from the run's."""


@keras.saving.register_keras_serializable("tfscale")
class EncoderDecoder(CachedStacks):
    """Token ids (B, S + U) int32 -> logits (B, U, V) float32 of the token after each of the target
    part.

    The source part is the end token, the source, and end tokens up to S; those after the first are
    not seen. The target part is the end token, the target, and end tokens up to U.

    Args:
        config: the sizes of both stacks, without a sliding window.
        source_length: S.
        target_length: U.
        end_id: the end token.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights.

    Example:
        network = EncoderDecoder(run.model_config, source_length=64, target_length=32, end_id=0)
        network.start_from(run.network)
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        source_length: int,
        target_length: int,
        end_id: int,
        precision: Precision = "float32",
        seed: int = 0,
        name: str = "encoder_decoder",
    ):
        super().__init__(name=name)
        self.config, self.end_id = config, end_id
        self.source_length, self.target_length = source_length, target_length
        self.precision, self.seed = precision, seed
        policy = keras.dtype_policies.DTypePolicy(precision)
        initial = normal_initializers(seed)
        self.token_embedding = token_table(config, next(initial), policy)
        self.widen, self.narrow = narrow_layers(config, initial, policy)
        # Each stack has positions of its own, which begin at 0.
        self.positions: list[PositionEmbedding] = [
            PositionEmbedding(length, next(initial), dtype=policy, name=f"{stack}_positions")
            for stack, length in (("encoder", source_length), ("decoder", target_length))
            if config.positions == "learned"
        ]
        self.embedding_dropout = Dropout(config.dropout, dtype=policy, name="embedding_dropout")
        self.encoder_blocks, self.decoder_blocks = (
            [
                kind(
                    block_options(config, index, seed + 1000 * (first + index)),
                    dtype=policy,
                    name=f"{stack}_{index}",
                )
                for index in range(config.num_layers)
            ]
            for kind, stack, first in (
                (TransformerBlock, "encoder", 1),
                (DecoderBlock, "decoder", 1 + config.num_layers),
            )
        )
        self.encoder_norm, self.decoder_norm = (
            norm_layer(config.normalization, config.use_bias, policy, name, config.norm_epsilon)
            for name in ("encoder_norm", "decoder_norm")
        )
        self.encoder_mixes, self.decoder_mixes = (
            residual_mixes(config, policy, f"{stack}_") for stack in ("encoder", "decoder")
        )
        self.logits = logits_layer(config)
        self._build_layers(config.embedding_width)

    def _build_layers(self, width: int) -> None:
        wide = (None, None, self.config.hidden_dim)
        self.token_embedding.build((None, None))
        if self.widen is not None and self.narrow is not None:
            self.widen.build((None, None, width))
            self.narrow.build(wide)
        blocks = [*self.encoder_blocks, *self.decoder_blocks]
        for layer in (*self.positions, *blocks, self.encoder_norm, self.decoder_norm):
            layer.build(wide)
        for mix in (*self.encoder_mixes, *self.decoder_mixes):
            if mix is not None:
                mix.build(wide, wide)
        self.built = True

    def call(self, ids, training=False):
        return self.project(self.hidden_states(ids, training))

    def hidden_states(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the input of `project`: ids (B, S + U) int32 -> (B, U, width) in the compute
        type."""
        source, target = ids[:, : self.source_length], ids[:, self.source_length :]
        return self.decode(target, *self.encode(source, training), training)

    def encode(self, source: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Source part (B, S) int32 -> what the decoder attends to (B, S, D), and where it is not
        padding (B, S)."""
        visible = up_to_end(source, self.end_id)
        x = embedded = self._embedded(source, 0, training)
        for mix, block in zip(self.encoder_mixes, self.encoder_blocks, strict=True):
            x = x if mix is None else mix(x, embedded)
            x = block(x, training=training, visible=visible[:, None, :])
        return self.encoder_norm(x), visible

    def decode(
        self, target: tf.Tensor, memory: tf.Tensor, visible: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Target part (B, U) int32 and what `encode` gives -> hidden states (B, U, width)."""
        x = embedded = self._embedded(target, 1, training)
        for mix, block in zip(self.decoder_mixes, self.decoder_blocks, strict=True):
            x = x if mix is None else mix(x, embedded)
            x = block(x, memory, visible, training=training)
        x = self.decoder_norm(x)
        return x if self.narrow is None else self.narrow(x)

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden states (..., width) -> logits (..., V) float32."""
        return self.logits(self.token_embedding(hidden, reverse=True))

    def _embedded(self, ids, stack, training):
        x = self.token_embedding(ids)
        x = scaled(x if self.widen is None else self.widen(x), self.config)
        x = self.positions[stack](x) if self.positions else x
        return self.embedding_dropout(x, training=training)

    def start_from(self, base: TransformerLM) -> None:
        """Takes a language model's weights for all but the cross-attention.

        Args:
            base: a network of the same sizes.

        Raises:
            ConfigError: it is not a Transformer, or has a window.
        """
        check_base(base, "encoder_decoder")
        pairs: list[tuple[keras.layers.Layer | None, keras.layers.Layer | None]] = [
            (self.token_embedding, base.token_embedding),
            (self.widen, base.widen),
            (self.narrow, base.narrow),
        ]
        pairs += [(norm, base.final_norm) for norm in (self.encoder_norm, self.decoder_norm)]
        for stack in (self.encoder_blocks, self.decoder_blocks):
            for block, theirs in zip(stack, base.blocks, strict=True):
                pairs += [(getattr(block, name), getattr(theirs, name)) for name in _SHARED]
        for mixes in (self.encoder_mixes, self.decoder_mixes):
            pairs += zip(mixes, base.mixes, strict=True)
        for ours, its in pairs:
            if ours is not None and its is not None:
                ours.set_weights(its.get_weights())
        for positions in self.positions:
            assert base.position_embedding is not None  # base has the same config
            table = np.asarray(base.position_embedding.embeddings)
            positions.embeddings.assign(table[: positions.context_length])

    language_model = None
    """The stacks are two: no language model's cached step is enough to write."""

    def get_config(self) -> KerasConfig:
        return {
            "config": to_dict(self.config),
            "source_length": self.source_length,
            "target_length": self.target_length,
            "end_id": self.end_id,
            "precision": self.precision,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: KerasConfig, custom_objects=None) -> "EncoderDecoder":
        options = TransformerConfig.of_record(config.pop("config"))
        return cls(TransformerConfig(**options), **config)
