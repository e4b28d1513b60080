"""A model family of somebody's own: gated convolutions (Dauphin et al. 2017).

Shapes: B rows, T tokens, D hidden_dim, K kernel_width, V vocabulary.
"""

from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import tfscale


@dataclass(frozen=True, kw_only=True)
class GatedConvolutionConfig(tfscale.NetworkConfig):
    """Embedding, causal convolutions with gates, and a softmax."""

    family: ClassVar[str] = "gated_convolution"
    compared_as: ClassVar[dict[str, int]] = {"sequence_length": 16, "hidden_dim": 16}

    hidden_dim: int = 64
    """Width of the embedding and of every layer."""
    num_layers: int = 2
    """Convolutions."""
    kernel_width: int = 4
    """Tokens that a convolution reads, the last one included."""

    def parameter_count(self) -> int:
        d, v = self.hidden_dim, self.vocabulary_size
        convolution = (self.kernel_width * d + 1) * 2 * d
        return v * d + self.num_layers * convolution + (d + 1) * v


@tfscale.register
class GatedConvolutionLM(tfscale.LanguageNetwork):
    """Token ids (B, T) int32 -> logits (B, T, V) float32."""

    config_class = GatedConvolutionConfig
    decodes = "state"

    def __init__(self, config, precision="float32", seed=0, name="gated_convolution"):
        self.check_vocabulary(config)
        policy = keras.dtype_policies.DTypePolicy(precision)

        def initial(offset):
            return keras.initializers.GlorotUniform(seed=seed * 1009 + offset)

        embedding = keras.layers.Embedding(
            config.vocabulary_size,
            config.hidden_dim,
            embeddings_initializer=initial(0),
            dtype=policy,
            name="token_embedding",
        )
        convolutions = [
            keras.layers.Conv1D(
                2 * config.hidden_dim,
                config.kernel_width,
                padding="causal",
                kernel_initializer=initial(i + 1),
                dtype=policy,
                name=f"convolution_{i}",
            )
            for i in range(config.num_layers)
        ]
        output = keras.layers.Dense(
            config.vocabulary_size, kernel_initializer=initial(100), dtype=policy, name="output"
        )
        as_float32 = keras.layers.Activation("linear", dtype="float32", name="logits")
        inputs = keras.Input((None,), dtype="int32", name="tokens")
        hidden = embedding(inputs)
        for convolution in convolutions:
            hidden = hidden + _gated(convolution(hidden))
        super().__init__(inputs=inputs, outputs=as_float32(output(hidden)), name=name)
        self.config, self.precision, self.seed = config, precision, seed
        self.token_embedding, self.convolutions = embedding, convolutions
        self.output_layer, self.as_float32 = output, as_float32

    def hidden_states(self, ids, training=False, remat=False):
        hidden = self.token_embedding(ids)
        for convolution in self.convolutions:
            hidden = hidden + _gated(convolution(hidden))
        return hidden

    def project(self, hidden):
        return self.as_float32(self.output_layer(hidden))

    @property
    def output_variables(self):
        return [self.output_layer.kernel, self.output_layer.bias]

    def cache_spec(self):
        past = (self.config.kernel_width - 1) * self.config.hidden_dim
        return {f"state_past_{i}": (1, past) for i in range(self.config.num_layers)}

    def cached_step(self, tokens, cache, *, input_pos=None, mask=None, with_logits=True):
        # The last K inputs of each convolution, side by side, are one matrix product away from it.
        hidden = tf.gather(self.token_embedding.embeddings.value, tf.reshape(tokens, (1,)))
        after = {}
        for i, convolution in enumerate(self.convolutions):
            window = tf.concat([cache[f"state_past_{i}"], hidden], axis=-1)
            after[f"state_past_{i}"] = window[:, self.config.hidden_dim :]
            width = self.config.kernel_width * self.config.hidden_dim
            kernel = tf.reshape(convolution.kernel.value, (width, -1))
            signal, gate = tf.split(tf.matmul(window, kernel) + convolution.bias.value, 2, axis=-1)
            hidden += signal * tf.sigmoid(gate)
        if not with_logits:
            return None, after
        logits = tf.matmul(hidden, self.output_layer.kernel.value) + self.output_layer.bias.value
        return tf.reshape(logits, (1, 1, self.config.vocabulary_size)), after


def _gated(both):
    """(B, T, 2 D) -> (B, T, D): one half through the other's gate."""
    signal, gate = ops.split(both, 2, axis=-1)
    return signal * ops.sigmoid(gate)


def reference_logits(network, ids):
    """The same in NumPy, token by token: ids (T,) -> logits (T, V)."""
    config = network.config
    hidden = np.asarray(network.token_embedding.embeddings)[ids]
    for layer in network.convolutions:
        kernel, bias = np.asarray(layer.kernel), np.asarray(layer.bias)
        padded = np.concatenate([np.zeros((config.kernel_width - 1, config.hidden_dim)), hidden])
        both = np.stack(
            [
                np.einsum("kd,kdo->o", padded[t : t + config.kernel_width], kernel) + bias
                for t in range(len(ids))
            ]
        )
        signal, gate = np.split(both, 2, axis=-1)
        hidden = hidden + signal / (1 + np.exp(-gate))
    output = network.output_layer
    return hidden @ np.asarray(output.kernel) + np.asarray(output.bias)
