"""A bidirectional LSTM that predicts each token from those on both sides of it, without reading the
token itself.

The common recipe, predict token t + 1 from a `Bidirectional` output at t, reads its own target: the
backward layer has seen it, and the loss goes to 0. Here two stacks of LSTM layers run apart, one
from each end (Peters et al. 2018), and the state before a token is joined with the one after it: a
cloze (Taylor 1953).

Shapes: B batch, T tokens, E embedding_dim, U hidden_dim (units of a direction), V vocabulary.
"""

import keras
import tensorflow as tf
from keras import ops

from tfscale.config import BiLSTMConfig, Precision
from tfscale.models.body import Body, BodyNetwork
from tfscale.models.dropout import Dropout
from tfscale.models.recurrent_layers import LSTM
from tfscale.models.remat import rematerialized
from tfscale.registry import register


@register
class BiLSTMLM(BodyNetwork):
    """Token ids (B, T) int32 -> logits (B, T, V) float32; those at t are for id t + 1, from all ids
    but that one.

    So it is trained on the same batches as a model of the next token. The last two targets of a
    window have nothing to their right. The exponential of its loss is not a perplexity, which
    `BiLSTMConfig.predicts` says.

    Args:
        config: the architecture; `vocabulary_size` must be set.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights.

    Example:
        network = BiLSTMLM(BiLSTMConfig(vocabulary_size=256, hidden_dim=128))
        logits = network(tf.zeros((8, 64), tf.int32))  # (8, 64, 256)
    """

    config_class = BiLSTMConfig
    config: BiLSTMConfig
    body: "_Body"

    def __init__(
        self,
        config: BiLSTMConfig,
        precision: Precision = "float32",
        seed: int = 0,
        name: str = "bilstm",
    ):
        super().__init__(config, _Body(config, precision, seed), precision, seed, name)

    def features(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Both states at each token, which have read it: ids (B, T) int32 -> (B, T, 2 U), for tasks
        that see all."""
        return ops.concatenate(self.body.states(ids, training), axis=-1)

    @property
    def prediction_variables(self) -> list[keras.Variable]:
        return [*super().prediction_variables, *self.body.join.variables]


class _Body(Body):
    def __init__(self, config: BiLSTMConfig, precision: Precision, seed: int):
        super().__init__(config, precision, seed)
        policy = self.policy

        def stack(direction: str, offset: int) -> list[keras.layers.Layer]:
            return [
                LSTM(
                    config.hidden_dim,
                    return_sequences=True,
                    kernel_initializer=self.glorot(offset + i),
                    recurrent_initializer=self.orthogonal(offset + i),
                    dtype=policy,
                    name=f"{direction}_{i}",
                )
                for i in range(config.num_layers)
            ]

        self.token_embedding = self.table()
        self.embedding_dropout = Dropout(config.dropout, dtype=policy, name="embedding_dropout")
        self.stacks = {"forward": stack("forward", 0), "backward": stack("backward", 50)}
        self.dropouts = {
            name: [
                Dropout(config.dropout, dtype=policy, name=f"{name}_dropout_{i}")
                for i in range(config.num_layers)
            ]
            for name in self.stacks
        }
        self.join = self.dense(config.embedding_dim, "join", 100)
        if not config.tie_embeddings:
            self.output_layer = self.dense(config.vocabulary_size, "output", 101)

    def states(self, ids, training=None, remat=False):
        """Forward states that have read up to each token, backward states that have read from it:
        (B, T, U) twice."""
        embedded = self.embedding_dropout(self.token_embedding(ids), training=training)
        both = []
        for name, layers in self.stacks.items():
            x = embedded if name == "forward" else ops.flip(embedded, axis=1)
            for layer, dropout in zip(layers, self.dropouts[name], strict=True):
                x = rematerialized(layer, x, training) if remat else layer(x, training=training)
                x = dropout(x, training=training)
            both.append(x if name == "forward" else ops.flip(x, axis=1))
        return both

    def hidden_states(self, ids, training=None, remat=False, documents=None):
        assert documents is None  # It does not keep them apart: see `check_separates`.
        forward, backward = self.states(ids, training, remat)
        # The target of t is id t + 1: before it is t, after it t + 2.
        after = ops.pad(backward, [[0, 0], [0, 2], [0, 0]])[:, 2:]
        return self.join(ops.concatenate([forward, after], axis=-1))
