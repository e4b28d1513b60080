"""`BodyNetwork`: a network whose layers, and the way through them, are an object of their own.

The functional model and the train step go the same way; only the latter computes activations again.

Shapes: B rows, T tokens, D width of the hidden states, V vocabulary.
"""

import abc

import keras
import tensorflow as tf

from tfscale.config import NetworkConfig, Precision
from tfscale.models.documents import Documents
from tfscale.models.layers import normal_initializers
from tfscale.models.network import LanguageNetwork


class Body(abc.ABC):
    """The layers of a network of `config`, and the way through them.

    Attributes:
        policy: dtype policy of the layers.
        output_layer: the output projection; None where it is the token table.
    """

    token_embedding: keras.layers.Embedding
    output_layer: keras.layers.Dense | None = None

    def __init__(self, config: NetworkConfig, precision: Precision, seed: int):
        LanguageNetwork.check_vocabulary(config)
        self.config, self.seed = config, seed
        self.policy = keras.dtype_policies.DTypePolicy(precision)
        self.logits = keras.layers.Activation("linear", dtype="float32", name="logits")

    def table(self) -> keras.layers.Embedding:
        """Returns the token table of a network that is not a Transformer."""
        return keras.layers.ReversibleEmbedding(
            self.config.vocabulary_size,
            self.config.embedding_width,
            embeddings_initializer=next(normal_initializers(self.seed, stddev=0.05)),
            dtype=self.policy,
            name="token_embedding",
        )

    def glorot(self, offset: int) -> keras.initializers.Initializer:
        """Returns an initializer of a matrix; each of a network has an offset of its own."""
        return keras.initializers.GlorotUniform(seed=self.seed * 100_003 + 500 + offset)

    def orthogonal(self, offset: int) -> keras.initializers.Initializer:
        """Returns an initializer of a recurrent matrix, as `glorot`."""
        return keras.initializers.Orthogonal(seed=self.seed * 100_003 + 700 + offset)

    def dense(
        self,
        units: int,
        name: str,
        offset: int,
        use_bias: bool = True,
        activation: str | None = None,
    ) -> keras.layers.Dense:
        """Returns a dense layer that starts from `glorot`."""
        return keras.layers.Dense(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=self.glorot(offset),
            dtype=self.policy,
            name=name,
        )

    @abc.abstractmethod
    def hidden_states(
        self,
        ids: tf.Tensor,
        training: bool | None = None,
        remat: bool = False,
        documents: Documents | None = None,
    ) -> tf.Tensor:
        """Returns what `LanguageNetwork.hidden_states` does, for symbolic ids too."""

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Returns logits (..., V) float32 of hidden states (..., D)."""
        if self.output_layer is None:
            return self.logits(self.token_embedding(hidden, reverse=True))
        return self.logits(self.output_layer(hidden))

    @property
    def output_variables(self) -> list[keras.Variable]:
        """The weights that `project` reads."""
        if self.output_layer is None:
            return [self.token_embedding.embeddings]
        return [self.output_layer.kernel, self.output_layer.bias]


class BodyNetwork(LanguageNetwork):
    """A network that a body computes.

    Args:
        config: the architecture; `vocabulary_size` must be set.
        body: the layers.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights and of dropout.
        name: name of the Keras model.
    """

    def __init__(
        self, config: NetworkConfig, body: Body, precision: Precision, seed: int, name: str
    ):
        inputs = keras.Input((None,), dtype="int32", name="tokens")
        super().__init__(inputs=inputs, outputs=body.project(body.hidden_states(inputs)), name=name)
        self.config = config
        self.precision = precision
        self.seed = seed
        self.body = body
        self.token_embedding = body.token_embedding

    def hidden_states(
        self,
        ids: tf.Tensor,
        training: bool = False,
        remat: bool = False,
        documents: Documents | None = None,
    ) -> tf.Tensor:
        return self.body.hidden_states(ids, training, remat, documents)

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        return self.body.project(hidden)

    @property
    def output_variables(self) -> list[keras.Variable]:
        return self.body.output_variables
