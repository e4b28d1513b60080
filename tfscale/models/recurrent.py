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
from tfscale.models.body import Body, BodyNetwork
from tfscale.models.cached import rows_of, variable
from tfscale.models.documents import Documents
from tfscale.models.dropout import Dropout
from tfscale.models.recurrent_layers import GRU, LSTM, SimpleRNN
from tfscale.models.recurrent_steps import gru_step, lstm_step
from tfscale.models.regularization import ActivationRegularization, WordDropout
from tfscale.models.remat import rematerialized
from tfscale.models.shrinking import UnitGroup
from tfscale.registry import register


class RecurrentLM(BodyNetwork):
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
    separates = True
    config: RecurrentConfig
    body: "_Body"
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
        body = _Body(self.layer_class, config, precision, seed)
        super().__init__(config, body, precision, seed, name or config.family)
        self.recurrent_layers = body.recurrent_layers
        self.projection = body.projection
        self.output_layer = body.output_layer

    def carry(
        self,
        ids: tf.Tensor,
        states: Sequence[tf.Tensor],
        training: bool = False,
        remat: bool = False,
        documents: Documents | None = None,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        constants = [tf.stop_gradient(state) for state in states]
        return self.body.through(ids, constants, training, remat, documents)

    def unit_groups(self, size: str, count: int) -> list[UnitGroup]:
        return recurrent_sizes.unit_groups(self, size, count)

    def factors(self, size: str, rank: int) -> dict[str, np.ndarray] | None:
        return recurrent_sizes.factors(self, size, rank)

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
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
        with_hidden: bool = False,
    ) -> tuple[tf.Tensor | None, dict[str, tf.Tensor]]:
        x = rows_of(self.token_embedding.embeddings, tf.reshape(tokens, (1,)))
        new: dict[str, tf.Tensor] = {}
        for i, layer in enumerate(self.recurrent_layers):
            names = [f"state_{kind}_{i}" for kind in self.states]
            states = self.cell_step(layer.cell, x, [cache[name] for name in names])
            new |= dict(zip(names, states, strict=True))
            x = states[0]
        if not (with_logits or with_hidden):
            return None, new
        if self.projection is not None:
            x = tf.matmul(x, variable(self.projection.kernel))
        if with_hidden:
            return tf.reshape(x, (1, 1, x.shape[-1])), new
        if self.output_layer is not None:
            logits = tf.matmul(x, variable(self.output_layer.kernel))
            logits += variable(self.output_layer.bias)
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


class _Body(Body):
    def __init__(
        self,
        layer_class: type[keras.layers.Layer],
        config: RecurrentConfig,
        precision: Precision,
        seed: int,
    ):
        super().__init__(config, precision, seed)
        policy = self.policy

        def dropout(name: str) -> Dropout:
            shape = (None, 1, None) if config.variational_dropout else None
            return Dropout(config.dropout, noise_shape=shape, dtype=policy, name=name)

        self.token_embedding = self.table()
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
                kernel_initializer=self.glorot(i),
                recurrent_initializer=self.orthogonal(i),
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
        self.projection: keras.layers.Dense | None = None
        if not config.tie_embeddings:
            if config.output_rank:
                self.projection = self.dense(config.output_rank, "before_output", 102, False)
            self.output_layer = self.dense(config.vocabulary_size, "output", 101)
        elif config.hidden_dim != config.embedding_dim:
            self.projection = self.dense(config.embedding_dim, "projection", 100, False)

    def hidden_states(self, ids, training=None, remat=False, documents=None):
        return self.through(ids, None, training, remat, documents)[0]

    def through(self, ids, states, training=None, remat=False, documents=None):
        """Hidden states and the last states of all layers; the latter only where first ones are
        given."""
        begins = {} if documents is None else {"begins": documents.begins(ids)}
        last: list[tf.Tensor] = []
        x = self.token_embedding(ids)
        if self.word_dropout is not None:
            x = self.word_dropout(x, ids, training=training)
        x = self.embedding_dropout(x, training=training)
        for layer, dropout in zip(self.recurrent_layers, self.dropouts, strict=True):
            if states is None:
                whole = (
                    rematerialized(layer, x, training, **begins)
                    if remat
                    else layer(x, training=training, **begins)
                )
            else:
                first = states[len(last) : len(last) + layer.state_count]
                whole, *after = (
                    rematerialized(layer, x, training, first, **begins)
                    if remat
                    else layer.with_state(x, first, training, **begins)
                )
                last += after
            x = dropout(whole, training=training)
        if self.regularization is not None:
            x = self.regularization(x, whole, training=training, **begins)
        return (x if self.projection is None else self.projection(x)), last
