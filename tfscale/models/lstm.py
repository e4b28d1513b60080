"""LSTM language model: embedding, LSTM layers, softmax (Mikolov et al. 2010; Zaremba et al. 2014).

Shapes: B batch, T tokens, E embedding_dim, U hidden_dim (units), V vocabulary.
"""

from typing import Any

import keras
import tensorflow as tf

from tfscale.config import LSTMConfig, Precision, to_dict
from tfscale.errors import ConfigError
from tfscale.models.layers import normal_initializers, variable
from tfscale.models.remat import rematerialized


@keras.saving.register_keras_serializable("tfscale")
class LSTMLM(keras.Model):
    """Token ids (B, T) int32 -> logits (B, T, V) float32; the state starts at zero in each window.

    Args:
        config: the architecture; `vocabulary_size` must be set.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights.

    Example:
        network = LSTMLM(LSTMConfig(vocabulary_size=256, hidden_dim=128))
        logits = network(tf.zeros((8, 64), tf.int32))  # (8, 64, 256)
    """

    def __init__(self, config: LSTMConfig, precision: Precision = "float32", seed: int = 0, name: str = "lstm"):
        if config.vocabulary_size < 1:
            raise ConfigError("model.vocabulary_size is 0; give the tokenizer's vocabulary size")
        policy = keras.dtype_policies.DTypePolicy(precision)
        width = config.embedding_dim
        token_embedding = keras.layers.ReversibleEmbedding(
            config.vocabulary_size, width, embeddings_initializer=next(normal_initializers(seed, stddev=0.05)),
            dtype=policy, name="token_embedding",
        )  # fmt: skip

        def glorot(offset: int) -> keras.initializers.Initializer:
            return keras.initializers.GlorotUniform(seed=seed * 100_003 + 500 + offset)

        layers = [
            keras.layers.LSTM(
                config.hidden_dim, return_sequences=True, kernel_initializer=glorot(i),
                recurrent_initializer=keras.initializers.Orthogonal(seed=seed * 100_003 + 700 + i),
                dtype=policy, name=f"lstm_{i}",
            )
            for i in range(config.num_layers)
        ]  # fmt: skip
        inputs = keras.Input((None,), dtype="int32", name="tokens")
        x = token_embedding(inputs)
        x = keras.layers.Dropout(config.dropout, dtype=policy, name="embedding_dropout")(x)
        for i, layer in enumerate(layers):
            x = layer(x)
            x = keras.layers.Dropout(config.dropout, dtype=policy, name=f"dropout_{i}")(x)
        projection = before_output = output = None
        if config.tie_embeddings:
            if config.hidden_dim != width:
                projection = keras.layers.Dense(
                    width, use_bias=False, kernel_initializer=glorot(100), dtype=policy, name="projection"
                )
                x = projection(x)
            logits = token_embedding(x, reverse=True)
        else:
            if config.output_rank:
                before_output = keras.layers.Dense(
                    config.output_rank, use_bias=False, kernel_initializer=glorot(102), dtype=policy,
                    name="before_output",
                )  # fmt: skip
                x = before_output(x)
            output = keras.layers.Dense(
                config.vocabulary_size, kernel_initializer=glorot(101), dtype=policy, name="output"
            )
            logits = output(x)
        logits = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
        super().__init__(inputs=inputs, outputs=logits, name=name)
        self.config = config
        self.precision = precision
        self.seed = seed
        self.token_embedding = token_embedding
        self.lstm_layers = layers
        self.projection = before_output if projection is None else projection
        self.output_layer = output

    def hidden_states(self, ids: tf.Tensor, training: bool = False, remat: bool = False) -> tf.Tensor:
        """What the output projection reads: ids (B, T) int32 -> (B, T, U), (B, T, E) if tied, or of low rank.

        Args:
            ids: token ids.
            training: whether dropout is on.
            remat: compute the gates of the LSTM layers again in the backward pass; see `tfscale.models.remat`.
        """
        x = self.get_layer("embedding_dropout")(self.token_embedding(ids), training=training)
        for i, layer in enumerate(self.lstm_layers):
            x = rematerialized(layer, x, training) if remat else layer(x, training=training)
            x = self.get_layer(f"dropout_{i}")(x, training=training)
        return x if self.projection is None else self.projection(x)

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden states (..., U or E) -> logits (..., V) float32: project(hidden_states(ids)) is network(ids)."""
        if self.output_layer is None:
            return self.get_layer("logits")(self.token_embedding(hidden, reverse=True))
        return self.get_layer("logits")(self.output_layer(hidden))

    @property
    def output_variables(self) -> list[keras.Variable]:
        """The weights that `project` reads."""
        if self.output_layer is None:
            return [self.token_embedding.embeddings]
        return [self.output_layer.kernel, self.output_layer.bias]

    @staticmethod
    def parameter_count(config: LSTMConfig) -> int:
        """Trainable weights of a model with this config."""
        units, width = config.hidden_dim, config.embedding_dim
        inputs = [width] + [units] * (config.num_layers - 1)
        recurrent = sum(4 * units * (size + units + 1) for size in inputs)
        embedding = config.vocabulary_size * width
        if config.tie_embeddings:
            return embedding + recurrent + (units * width if units != width else 0)
        rank = config.output_rank
        return embedding + recurrent + units * rank + ((rank or units) + 1) * config.vocabulary_size

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes (1, U) of the state of each layer; all float32, zeros at the start."""
        shape = (1, self.config.hidden_dim)
        return {f"state_{kind}_{i}": shape for i in range(self.config.num_layers) for kind in "hc"}

    def cached_step(
        self,
        tokens: tf.Tensor,
        cache: dict[str, tf.Tensor],
        *,
        input_pos: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        with_logits: bool = True,
    ) -> tuple[tf.Tensor | None, dict[str, tf.Tensor]]:
        """Reads one token into the state, in float32.

        Args:
            tokens: id (1, 1) int32.
            cache: tensors as in `cache_spec`.
            input_pos: has no meaning here; accepted so that every family is called alike.
            mask: the same.
            with_logits: whether to compute the logits.

        Returns:
            Logits (1, 1, V), or None, and the new state.
        """
        x = tf.gather(variable(self.token_embedding.embeddings), tf.reshape(tokens, (1,)))
        new = {}
        for i, layer in enumerate(self.lstm_layers):
            cell = layer.cell
            gates = tf.matmul(x, variable(cell.kernel)) + variable(cell.bias)
            gates = gates + tf.matmul(cache[f"state_h_{i}"], variable(cell.recurrent_kernel))
            input_gate, forget_gate, candidate, output_gate = tf.split(gates, 4, axis=-1)
            c = tf.sigmoid(forget_gate) * cache[f"state_c_{i}"] + tf.sigmoid(input_gate) * tf.tanh(candidate)
            x = tf.sigmoid(output_gate) * tf.tanh(c)
            new[f"state_h_{i}"], new[f"state_c_{i}"] = x, c
        if not with_logits:
            return None, new
        if self.projection is not None:
            x = tf.matmul(x, variable(self.projection.kernel))
        if self.output_layer is not None:
            logits = tf.matmul(x, variable(self.output_layer.kernel)) + variable(self.output_layer.bias)
        else:
            logits = tf.matmul(x, variable(self.token_embedding.embeddings), transpose_b=True)
        return tf.reshape(logits, (1, 1, self.config.vocabulary_size)), new

    def get_config(self) -> dict[str, Any]:
        return {"config": to_dict(self.config), "precision": self.precision, "seed": self.seed, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> "LSTMLM":
        return cls(LSTMConfig(**config.pop("config")), **config)
