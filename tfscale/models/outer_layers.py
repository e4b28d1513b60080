"""The layers of a Transformer around its blocks: the token table, the mix of a block's input with
the embedding, and the logits.

Shapes: B batch, T tokens, D hidden_dim, E width of the table, V rows of the table.
"""

from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from tfscale.config import TransformerConfig
from tfscale.models.cached import soft_capped, variable


@keras.saving.register_keras_serializable("tfscale")
class ZeroOutputEmbedding(keras.layers.ReversibleEmbedding):
    """Keras's reversible embedding, untied, whose output matrix (E, V) begins as zeros."""

    def build(self, input_shape=None):
        keras.layers.Embedding.build(self, input_shape)
        self.reverse_embeddings = self.add_weight(
            shape=(self.output_dim, self.input_dim), initializer="zeros", name="reverse_embeddings"
        )


def token_table(
    config: TransformerConfig,
    initial: keras.initializers.Initializer,
    policy: keras.dtype_policies.DTypePolicy,
) -> keras.layers.ReversibleEmbedding:
    """Returns the table of a Transformer's tokens, which is the output projection too if tied."""
    # Keras names layers in a file by their class, so that of earlier files stays the default.
    zeros = config.output_initializer == "zeros"
    kind = ZeroOutputEmbedding if zeros else keras.layers.ReversibleEmbedding
    return kind(
        config.table_rows,
        config.embedding_width,
        tie_weights=config.tie_embeddings,
        embeddings_initializer=initial,
        dtype=policy,
        name="token_embedding",
    )


def narrow_layers(
    config: TransformerConfig,
    initial: Iterator[keras.initializers.Initializer],
    policy: keras.dtype_policies.DTypePolicy,
) -> list[keras.layers.Layer | None]:
    """Returns the matrices after a narrow token table, and before it at the output; None twice for
    a table as wide as the model."""
    if not config.embedding_rank:
        return [None, None]
    return [
        keras.layers.Dense(
            width, use_bias=False, kernel_initializer=next(initial), dtype=policy, name=name
        )
        for name, width in (("widen", config.hidden_dim), ("narrow", config.embedding_rank))
    ]


def scaled(embedded: tf.Tensor, config: TransformerConfig) -> tf.Tensor:
    """Returns embedded tokens as the first block reads them, before positions are added."""
    if not config.scale_embeddings:
        return embedded
    factor = config.hidden_dim**0.5
    if isinstance(embedded, keras.KerasTensor):
        # Keras marks the product of a symbolic tensor and a number as sparse, which no layer after
        # it takes.
        return keras.layers.Rescaling(factor, dtype=embedded.dtype)(embedded)
    return embedded * factor


@keras.saving.register_keras_serializable("tfscale")
class ResidualMix(keras.layers.Layer):
    """Mixes the residual stream x and the embedded tokens e to a x + b e: (B, T, D) twice ->
    (B, T, D).

    The factors a and b are learned, and begin as 1 and 0.
    """

    def build(self, x_shape, embedded_shape):
        self.kept = self.add_weight(shape=(), initializer="ones", name="kept")
        self.added = self.add_weight(shape=(), initializer="zeros", name="added")

    def compute_output_shape(self, x_shape, embedded_shape):
        return x_shape

    def call(self, x, embedded):
        return self.kept * x + self.added * embedded

    def cached(self, x: tf.Tensor, embedded: tf.Tensor) -> tf.Tensor:
        """The same in float32 and plain TensorFlow, for cached steps."""
        return variable(self.kept) * x + variable(self.added) * embedded


def residual_mixes(
    config: TransformerConfig, policy: keras.dtype_policies.DTypePolicy, prefix: str = ""
) -> Sequence[ResidualMix | None]:
    """Returns the mix before each block, for `config.embedding_skip`.

    There is none before the first, whose input is the embedding.
    """
    if not config.embedding_skip:
        return [None] * config.num_layers
    names = (f"{prefix}embedding_skip_{index}" for index in range(1, config.num_layers))
    return [None, *(ResidualMix(dtype=policy, name=name) for name in names)]


@keras.saving.register_keras_serializable("tfscale")
class SoftCap(keras.layers.Layer):
    """Bounds numbers smoothly by cap x tanh(x / cap), as Gemma 2 does with its logits.

    Args:
        cap: the bound.
    """

    def __init__(self, cap: float, **kwargs: object):
        super().__init__(**kwargs)
        self.cap = cap

    def compute_output_shape(self, x_shape):
        return x_shape

    def call(self, x):
        return soft_capped(x, self.cap)

    def get_config(self):
        return {**super().get_config(), "cap": self.cap}


def logits_layer(config: TransformerConfig) -> keras.layers.Layer:
    """Returns the last layer, which turns products with the output table into float32 logits."""
    if config.logit_soft_cap:
        return SoftCap(config.logit_soft_cap, dtype="float32", name="logits")
    return keras.layers.Activation("linear", dtype="float32", name="logits")
