"""Recurrent language models: embedding, LSTM, GRU or simple recurrent layers, softmax (Mikolov et
al. 2010).

Shapes: B batch, T tokens, E embedding_dim, U hidden_dim (units), G gates, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfscale.config import GRUConfig, LSTMConfig, Precision, RecurrentConfig, RNNConfig
from tfscale.models import recurrent_sizes
from tfscale.models.cached import variable
from tfscale.models.dropout import Dropout
from tfscale.models.layers import normal_initializers
from tfscale.models.network import LanguageNetwork
from tfscale.models.recurrent_layers import GRU, LSTM, SimpleRNN, gru_step, lstm_step
from tfscale.models.regularization import ActivationRegularization, WordDropout
from tfscale.models.remat import rematerialized
from tfscale.models.shrinking import UnitGroup
from tfscale.registry import register


class RecurrentLM(LanguageNetwork):
    """Token ids (B, T) int32 -> logits (B, T, V) float32; the state starts at zero in each window.

    With `config.stateful`, training and evaluation carry the state from window to window by
    `carry`. Subclasses are the families. Regularization is that of AWD-LSTM (Merity et al. 2018),
    each part by itself.

    Args:
        config: the architecture; `vocabulary_size` must be set.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights and of dropout.

    Example:
        network = LSTMLM(LSTMConfig(vocabulary_size=256, hidden_dim=128))
        logits = network(tf.zeros((8, 64), tf.int32))  # (8, 64, 256)
    """

    decodes = "state"
    layer_class: ClassVar[type[keras.layers.Layer]]
    states: ClassVar[str]
    """A letter for each state of a layer; the first is its output."""

    def __init__(
        self,
        config: RecurrentConfig,
        precision: Precision = "float32",
        seed: int = 0,
        name: str = "",
    ):
        self.check_vocabulary(config)
        name = name or config.family
        body = _Body(self.layer_class, config, precision, seed)
        inputs = keras.Input((None,), dtype="int32", name="tokens")
        super().__init__(inputs=inputs, outputs=body.project(body.hidden_states(inputs)), name=name)
        self.config = config
        self.precision = precision
        self.seed = seed
        self.body = body
        self.token_embedding = body.token_embedding
        self.recurrent_layers = body.recurrent_layers
        self.projection = body.projection
        self.output_layer = body.output_layer

    def hidden_states(
        self, ids: tf.Tensor, training: bool = False, remat: bool = False
    ) -> tf.Tensor:
        """Returns the input of the output projection: ids (B, T) int32 -> (B, T, U), (B, T, E) if
        tied, or of low rank.

        Args:
            ids: token ids.
            training: whether dropout is on.
            remat: compute the gates of the recurrent layers again in the backward pass; see
                `tfscale.models.remat`.
        """
        return self.body.hidden_states(ids, training, remat)

    def carry(
        self,
        ids: tf.Tensor,
        states: Sequence[tf.Tensor],
        training: bool = False,
        remat: bool = False,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        return self.body.through(
            ids, [tf.stop_gradient(state) for state in states], training, remat
        )

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden states (..., U or E) -> logits (..., V) float32: project(hidden_states(ids)) is
        network(ids)."""
        return self.body.project(hidden)

    @property
    def output_variables(self) -> list[keras.Variable]:
        """The weights that `project` reads."""
        if self.output_layer is None:
            return [self.token_embedding.embeddings]
        return [self.output_layer.kernel, self.output_layer.bias]

    def unit_groups(self, size: str, count: int) -> list[UnitGroup]:
        return recurrent_sizes.unit_groups(self, size, count)

    def factors(self, size: str, rank: int) -> dict[str, np.ndarray] | None:
        return recurrent_sizes.factors(self, size, rank)

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
        """Returns names and shapes (1, U) of the states of each layer; all float32, zeros at the
        start."""
        shape = (1, self.config.hidden_dim)
        return {
            f"state_{kind}_{i}": shape
            for i in range(self.config.num_layers)
            for kind in self.states
        }

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
        new: dict[str, tf.Tensor] = {}
        for i, layer in enumerate(self.recurrent_layers):
            names = [f"state_{kind}_{i}" for kind in self.states]
            states = self.cell_step(layer.cell, x, [cache[name] for name in names])
            new |= dict(zip(names, states, strict=True))
            x = states[0]
        if not with_logits:
            return None, new
        if self.projection is not None:
            x = tf.matmul(x, variable(self.projection.kernel))
        if self.output_layer is not None:
            logits = tf.matmul(x, variable(self.output_layer.kernel)) + variable(
                self.output_layer.bias
            )
        else:
            logits = tf.matmul(x, variable(self.token_embedding.embeddings), transpose_b=True)
        return tf.reshape(logits, (1, 1, self.config.vocabulary_size)), new

    cell_step: ClassVar[Callable[..., list[tf.Tensor]]]
    """One step of a layer in float32: its cell, x (1, D) and its states -> the new states."""


@register
class LSTMLM(RecurrentLM):
    """The family "lstm"; see `RecurrentLM`."""

    config_class, layer_class, states = LSTMConfig, LSTM, "hc"

    @staticmethod
    def cell_step(cell, x, states):
        h, c = states
        gates = (
            tf.matmul(x, variable(cell.kernel))
            + variable(cell.bias)
            + tf.matmul(h, variable(cell.recurrent_kernel))
        )
        return list(lstm_step(gates, c))


@register
class GRULM(RecurrentLM):
    """The family "gru"; see `RecurrentLM`."""

    config_class, layer_class, states = GRUConfig, GRU, "h"

    @staticmethod
    def cell_step(cell, x, states):
        bias = variable(cell.bias)
        projected = tf.matmul(x, variable(cell.kernel)) + bias[0]
        recurrent = tf.matmul(states[0], variable(cell.recurrent_kernel)) + bias[1]
        return [gru_step(projected, recurrent, states[0])]


@register
class RNNLM(RecurrentLM):
    """The family "rnn"; see `RecurrentLM`."""

    config_class, layer_class, states = RNNConfig, SimpleRNN, "h"

    @staticmethod
    def cell_step(cell, x, states):
        projected = tf.matmul(x, variable(cell.kernel)) + variable(cell.bias)
        return [tf.tanh(projected + tf.matmul(states[0], variable(cell.recurrent_kernel)))]


class _Body:
    """The layers of a recurrent model and the way through them, for the functional model and for
    the train step."""

    def __init__(
        self,
        layer_class: type[keras.layers.Layer],
        config: RecurrentConfig,
        precision: Precision,
        seed: int,
    ):
        policy = keras.dtype_policies.DTypePolicy(precision)
        width = config.embedding_dim

        def glorot(offset: int) -> keras.initializers.Initializer:
            return keras.initializers.GlorotUniform(seed=seed * 100_003 + 500 + offset)

        def dense(units: int, name: str, offset: int, use_bias: bool = False) -> keras.layers.Dense:
            return keras.layers.Dense(
                units, use_bias=use_bias, kernel_initializer=glorot(offset), dtype=policy, name=name
            )

        def dropout(name: str) -> Dropout:
            shape = (None, 1, None) if config.variational_dropout else None
            return Dropout(config.dropout, noise_shape=shape, dtype=policy, name=name)

        self.token_embedding = keras.layers.ReversibleEmbedding(
            config.vocabulary_size,
            width,
            embeddings_initializer=next(normal_initializers(seed, stddev=0.05)),
            dtype=policy,
            name="token_embedding",
        )
        self.word_dropout: WordDropout | None = None
        if config.embedding_dropout:
            self.word_dropout = WordDropout(
                config.vocabulary_size, config.embedding_dropout, dtype=policy, name="word_dropout"
            )
        self.embedding_dropout = dropout("embedding_dropout")
        self.recurrent_layers = [
            layer_class(
                config.hidden_dim,
                return_sequences=True,
                kernel_initializer=glorot(i),
                recurrent_initializer=keras.initializers.Orthogonal(seed=seed * 100_003 + 700 + i),
                recurrent_dropout=config.recurrent_dropout,
                weight_drop=config.weight_drop,
                dtype=policy,
                name=f"{config.family}_{i}",
            )
            for i in range(config.num_layers)
        ]
        self.dropouts = [dropout(f"dropout_{i}") for i in range(config.num_layers)]
        self.regularization: ActivationRegularization | None = None
        weights = (config.activation_regularization, config.temporal_activation_regularization)
        if any(weights):
            self.regularization = ActivationRegularization(
                *weights, dtype=policy, name="activation_regularization"
            )
        self.projection = self.output_layer = None
        if not config.tie_embeddings:
            self.projection = (
                dense(config.output_rank, "before_output", 102) if config.output_rank else None
            )
            self.output_layer = dense(config.vocabulary_size, "output", 101, use_bias=True)
        elif config.hidden_dim != width:
            self.projection = dense(width, "projection", 100)
        self.logits = keras.layers.Activation("linear", dtype="float32", name="logits")

    def hidden_states(self, ids, training=None, remat=False):
        return self.through(ids, None, training, remat)[0]

    def through(self, ids, states, training=None, remat=False):
        """Hidden states and the last states of all layers; the latter only where first ones are
        given."""
        last: list[tf.Tensor] = []
        x = self.token_embedding(ids)
        if self.word_dropout is not None:
            x = self.word_dropout(x, ids, training=training)
        x = self.embedding_dropout(x, training=training)
        for layer, dropout in zip(self.recurrent_layers, self.dropouts, strict=True):
            if states is None:
                whole = rematerialized(layer, x, training) if remat else layer(x, training=training)
            else:
                first = states[len(last) : len(last) + layer.state_count]
                whole, *after = (
                    rematerialized(layer, x, training, first)
                    if remat
                    else layer.with_state(x, first, training)
                )
                last += after
            x = dropout(whole, training=training)
        if self.regularization is not None:
            x = self.regularization(x, whole, training=training)
        return (x if self.projection is None else self.projection(x)), last

    def project(self, hidden):
        if self.output_layer is None:
            return self.logits(self.token_embedding(hidden, reverse=True))
        return self.logits(self.output_layer(hidden))
