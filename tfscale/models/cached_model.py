"""`CachedModel`: a Keras model that somebody else built, with what export asks of a network that
decodes token by token.

Shapes: B rows, T tokens, S tokens of a call, C context, V vocabulary.
"""

import abc
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import HasLayers
from tfscale.errors import ConfigError
from tfscale.models.network import Decodes


class CannotDecode(ConfigError):
    """Says what in a model cannot be computed token by token; its file scores windows."""


@dataclass(frozen=True)
class DecoderConfig:
    """The config of a model that somebody else built; `sequence_length` is its context in
    tokens."""

    vocabulary_size: int
    sequence_length: int
    family: str = "transformer"


class CachedModel(HasLayers, abc.ABC):
    """A Keras model with the members of `LanguageNetwork` that export needs.

    Args:
        model: ids -> logits (B, T, V), in float32.
        config: vocabulary and context; logits of ids above the vocabulary are left out.

    Attributes:
        decodes: see `tfscale.models.network.Decodes`.
        one_token: whether `cached_step` takes one token a call.
    """

    precision: ClassVar[str] = "float32"
    decodes: Decodes = "cache"
    one_token: bool = False

    def __init__(self, model: keras.Model, config: DecoderConfig):
        self.model, self.config = model, config
        # The whole forward pass, which also builds the layers of a subclassed model.
        logits = self._forward(tf.zeros((1, config.sequence_length), tf.int32), False).shape[-1]
        if logits < config.vocabulary_size:
            raise ConfigError(
                f"the tokenizer has {config.vocabulary_size} tokens and the model logits for"
                f" {logits}; they do not belong together"
            )
        self.weights, self.trainable_weights = model.weights, model.trainable_weights

    def __call__(self, ids: tf.Tensor | np.ndarray, training: bool = False) -> tf.Tensor:
        """Ids (B, T) int32 -> logits (B, T, V) float32, by the model's own forward pass."""
        return self._cut(self._forward(tf.convert_to_tensor(ids), training))

    @abc.abstractmethod
    def cache_spec(self) -> dict[str, tuple[int, ...]]:
        """Returns names and shapes of the tensors that decoding carries from call to call; all
        float32, zeros at the start."""

    @abc.abstractmethod
    def cached_step(
        self,
        tokens: tf.Tensor,
        cache: dict[str, tf.Tensor],
        *,
        input_pos: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        with_logits: bool = True,
    ) -> tuple[tf.Tensor | None, dict[str, tf.Tensor]]:
        """As `LanguageNetwork.cached_step`."""

    @abc.abstractmethod
    def _forward(self, ids: tf.Tensor, training: bool) -> tf.Tensor:
        """Ids (B, T) -> logits, those above the vocabulary too."""

    def _cut(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.cast(logits, tf.float32)[..., : self.config.vocabulary_size]
