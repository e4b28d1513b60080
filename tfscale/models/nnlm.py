"""Feed-forward neural language model (Bengio et al. 2003): the last N tokens, embedded side by
side, and one layer.

Shapes: B batch, T tokens, N context_tokens, E embedding_dim, U hidden_dim, V vocabulary.
"""

import keras
import tensorflow as tf
from keras import ops

from tfscale.config import NNLMConfig, Precision
from tfscale.models.body import Body, BodyNetwork
from tfscale.models.cached import rows_of, variable
from tfscale.models.dropout import Dropout
from tfscale.models.remat import rematerialized
from tfscale.registry import register


@register
class NNLM(BodyNetwork):
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
    separates = True
    config: NNLMConfig
    output_layer: keras.layers.Dense

    def __init__(
        self,
        config: NNLMConfig,
        precision: Precision = "float32",
        seed: int = 0,
        name: str = "nnlm",
    ):
        body = _Body(config, precision, seed)
        super().__init__(config, body, precision, seed, name)
        self.windows = body.windows
        self.hidden_layer = body.hidden_layer
        self.output_layer = body.output_layer

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
        # The embedded tokens before the next one, side by side.
        return {"state_tokens": (1, (self.config.context_tokens - 1) * self.config.embedding_dim)}

    def cached_step(
        self,
        tokens: tf.Tensor,
        cache: dict[str, tf.Tensor],
        *,
        input_pos: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        with_logits: bool = True,
        with_hidden: bool = False,
    ) -> tuple[tf.Tensor | None, dict[str, tf.Tensor]]:
        embedded = rows_of(self.token_embedding.embeddings, tf.reshape(tokens, (1,)))
        x = tf.concat([cache["state_tokens"], embedded], axis=-1)
        new = {"state_tokens": x[:, self.config.embedding_dim :]}
        if not (with_logits or with_hidden):
            return None, new
        summed = tf.matmul(x, variable(self.hidden_layer.kernel))
        hidden = tf.tanh(summed + variable(self.hidden_layer.bias))
        read = tf.concat([hidden, x], axis=-1) if self.config.direct_connections else hidden
        if with_hidden:
            return tf.reshape(read, (1, 1, read.shape[-1])), new
        logits = tf.matmul(read, variable(self.output_layer.kernel))
        logits += variable(self.output_layer.bias)
        return tf.reshape(logits, (1, 1, self.config.vocabulary_size)), new


class _Body(Body):
    config: NNLMConfig

    def __init__(self, config: NNLMConfig, precision: Precision, seed: int):
        super().__init__(config, precision, seed)
        self.token_embedding = self.table()
        self.windows = LastTokens(config.context_tokens, dtype=self.policy, name="last_tokens")
        self.hidden_layer = self.dense(config.hidden_dim, "hidden", 0, activation="tanh")
        self.dropout = Dropout(config.dropout, dtype=self.policy, name="dropout")
        self.output_layer = self.dense(config.vocabulary_size, "output", 1)

    def hidden_states(self, ids, training=None, remat=False, documents=None):
        segments = None if documents is None else documents.segments(ids)
        x = self.windows(self.token_embedding(ids), segments=segments)
        hidden = rematerialized(self.hidden_layer, x, training) if remat else self.hidden_layer(x)
        # With direct connections the output layer reads the embedded tokens too.
        hidden = ops.concatenate([hidden, x], axis=-1) if self.config.direct_connections else hidden
        return self.dropout(hidden, training=training)


@keras.saving.register_keras_serializable("tfscale")
class LastTokens(keras.layers.Layer):
    """Each token with those before it, the oldest first, zeros before the first: (B, T, E) -> (B,
    T, N E).

    With `segments` (B, T) int32, zeros stand before the first token of each document too.
    """

    def __init__(self, count: int, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def compute_output_shape(self, x_shape):
        return (*x_shape[:-1], None if x_shape[-1] is None else self.count * x_shape[-1])

    def call(self, x, segments=None):
        length, before = ops.shape(x)[1], self.count - 1
        padded = ops.pad(x, [[0, 0], [before, 0], [0, 0]])
        tokens = [padded[:, start : start + length] for start in range(self.count)]
        if segments is not None:
            numbers = ops.pad(segments, [[0, 0], [before, 0]])
            tokens = [
                part * ops.cast(numbers[:, start : start + length] == segments, x.dtype)[..., None]
                for start, part in enumerate(tokens)
            ]
        return ops.concatenate(tokens, axis=-1)

    def get_config(self):
        return {**super().get_config(), "count": self.count}
