"""Feed-forward neural language model (Bengio et al. 2003): the last N tokens, embedded side by
side, and one layer.

Shapes: B batch, T tokens, N context_tokens, E embedding_dim, U hidden_dim, V vocabulary.
"""

import keras
import tensorflow as tf
from keras import ops

from tfscale.config import NNLMConfig, Precision
from tfscale.models.cached import variable
from tfscale.models.dropout import Dropout
from tfscale.models.layers import normal_initializers
from tfscale.models.network import LanguageNetwork
from tfscale.models.remat import rematerialized
from tfscale.registry import register


@register
class NNLM(LanguageNetwork):
    """Token ids (B, T) int32 -> logits (B, T, V) float32; the logits at t depend on the last N ids
    up to t.

    Before the first token of a window stand vectors of zeros. With direct connections the output
    layer reads the embedded tokens beside the hidden layer, as in the paper's equation 1.

    Args:
        config: the architecture; `vocabulary_size` must be set.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights.

    Example:
        network = NNLM(NNLMConfig(vocabulary_size=256, context_tokens=4))
        logits = network(tf.zeros((8, 64), tf.int32))  # (8, 64, 256)
    """

    config_class = NNLMConfig
    decodes = "state"

    def __init__(
        self,
        config: NNLMConfig,
        precision: Precision = "float32",
        seed: int = 0,
        name: str = "nnlm",
    ):
        self.check_vocabulary(config)
        policy = keras.dtype_policies.DTypePolicy(precision)

        def dense(
            units: int, name: str, offset: int, activation: str | None = None
        ) -> keras.layers.Dense:
            initial = keras.initializers.GlorotUniform(seed=seed * 100_003 + 500 + offset)
            return keras.layers.Dense(
                units, activation=activation, kernel_initializer=initial, dtype=policy, name=name
            )

        token_embedding = keras.layers.ReversibleEmbedding(
            config.vocabulary_size,
            config.embedding_dim,
            dtype=policy,
            name="token_embedding",
            embeddings_initializer=next(normal_initializers(seed, stddev=0.05)),
        )
        windows = LastTokens(config.context_tokens, dtype=policy, name="last_tokens")
        hidden_layer = dense(config.hidden_dim, "hidden", 0, "tanh")
        dropout = Dropout(config.dropout, dtype=policy, name="dropout")
        output_layer = dense(config.vocabulary_size, "output", 1)
        inputs = keras.Input((None,), dtype="int32", name="tokens")
        x = windows(token_embedding(inputs))
        hidden = hidden_layer(x)
        hidden = dropout(
            ops.concatenate([hidden, x], axis=-1) if config.direct_connections else hidden
        )
        logits = keras.layers.Activation("linear", dtype="float32", name="logits")(
            output_layer(hidden)
        )
        super().__init__(inputs=inputs, outputs=logits, name=name)
        self.config = config
        self.precision = precision
        self.seed = seed
        self.token_embedding = token_embedding
        self.windows = windows
        self.hidden_layer = hidden_layer
        self.output_layer = output_layer

    def hidden_states(
        self, ids: tf.Tensor, training: bool = False, remat: bool = False
    ) -> tf.Tensor:
        """Returns the input of the output projection: ids (B, T) int32 -> (B, T, U), or (B, T, U +
        N E) if it reads both.

        Args:
            ids: token ids.
            training: whether dropout is on.
            remat: compute the hidden layer again in the backward pass; see `tfscale.models.remat`.
        """
        x = self.windows(self.token_embedding(ids))
        hidden = rematerialized(self.hidden_layer, x, training) if remat else self.hidden_layer(x)
        hidden = ops.concatenate([hidden, x], axis=-1) if self.config.direct_connections else hidden
        return self.get_layer("dropout")(hidden, training=training)

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden states -> logits (..., V) float32, so that project(hidden_states(ids)) is
        network(ids)."""
        return self.get_layer("logits")(self.output_layer(hidden))

    @property
    def output_variables(self) -> list[keras.Variable]:
        """The weights that `project` reads."""
        return [self.output_layer.kernel, self.output_layer.bias]

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
        """Returns the name and the shape (1, (N - 1) E) of the embedded tokens before the next one;
        float32, zeros at the start."""
        return {"state_tokens": (1, (self.config.context_tokens - 1) * self.config.embedding_dim)}

    def cached_step(
        self,
        tokens: tf.Tensor,
        cache: dict[str, tf.Tensor],
        *,
        input_pos: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        with_logits: bool = True,
    ) -> tuple[tf.Tensor | None, dict[str, tf.Tensor]]:
        """Reads one token, in float32; the arguments are those of `RecurrentLM.cached_step`.

        Returns:
            Logits (1, 1, V), or None, and the new state.
        """
        embedded = tf.gather(variable(self.token_embedding.embeddings), tf.reshape(tokens, (1,)))
        x = tf.concat([cache["state_tokens"], embedded], axis=-1)
        new = {"state_tokens": x[:, self.config.embedding_dim :]}
        if not with_logits:
            return None, new
        hidden = tf.tanh(
            tf.matmul(x, variable(self.hidden_layer.kernel)) + variable(self.hidden_layer.bias)
        )
        read = tf.concat([hidden, x], axis=-1) if self.config.direct_connections else hidden
        logits = tf.matmul(read, variable(self.output_layer.kernel)) + variable(
            self.output_layer.bias
        )
        return tf.reshape(logits, (1, 1, self.config.vocabulary_size)), new


@keras.saving.register_keras_serializable("tfscale")
class LastTokens(keras.layers.Layer):
    """Each token with those before it, the oldest first, zeros before the first: (B, T, E) -> (B,
    T, N E)."""

    def __init__(self, count: int, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def call(self, x):
        length = ops.shape(x)[1]
        padded = ops.pad(x, [[0, 0], [self.count - 1, 0], [0, 0]])
        return ops.concatenate(
            [padded[:, start : start + length] for start in range(self.count)], axis=-1
        )

    def get_config(self):
        return {**super().get_config(), "count": self.count}
