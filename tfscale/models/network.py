"""`LanguageNetwork`: what every language model of tfscale is, and what it can do.

A family is a config class and a subclass of `LanguageNetwork`, registered by `tfscale.register`.
What a network can do is declared here and asked here: nobody else looks for a family's name, a
class or an attribute. A Keras model that somebody else built has the same answers by
`capabilities`, as far as it offers the same members.

Shapes: B rows, T tokens, D width of the hidden states, V vocabulary, S tokens of one call.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf

from tfscale.config import NetworkConfig, Precision, to_dict
from tfscale.errors import ConfigError
from tfscale.registry import FAMILIES

Predicts = Literal["next", "cloze", "masked"]
"""next: the next token from those before it; cloze: the next token from those before and after it;
masked: hidden tokens at their own places, from all others."""
Decodes = Literal["cache", "state", "none"]
"""cache: with keys and values of each position, several tokens a call, up to a context; state: with
a state of fixed size, one token a call; none: not token by token."""

_NETWORKS: dict[type, type["LanguageNetwork"]] = {}


class LanguageNetwork(keras.Model):
    """A Keras model of token ids (B, T) int32 -> logits (B, T, V) float32.

    A subclass takes `(config, precision, seed, name)`, builds its layers, calls
    `super().__init__(inputs=..., outputs=...)` and sets `config`, `precision` and `seed`.

    Attributes:
        config_class: class of `config`, which names the family.
        predicts: what the logits at t are of; see `Predicts`.
        decodes: how it generates; see `Decodes`. Where it is not "none", `cache_spec` and
            `cached_step` are there.

    Example:
        @tfscale.register
        class ConvolutionLM(tfscale.LanguageNetwork):
            config_class = ConvolutionConfig
            decodes = "state"
    """

    config_class: ClassVar[type[NetworkConfig]]
    predicts: ClassVar[Predicts] = "next"
    decodes: ClassVar[Decodes] = "none"
    config: Any
    precision: Precision
    seed: int
    token_embedding: Any
    """The layer with the table `embeddings` (V, E) that ids are looked up in."""

    @abc.abstractmethod
    def hidden_states(
        self, ids: tf.Tensor, training: bool = False, remat: bool = False
    ) -> tf.Tensor:
        """Returns the input of the output projection: ids (B, T) int32 -> (B, T, D) in the compute
        type.

        Args:
            ids: token ids.
            training: whether dropout is on.
            remat: compute activations again in the backward pass; see `tfscale.models.remat`.
        """

    @abc.abstractmethod
    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden states (..., D) -> logits (..., V) float32, so that project(hidden_states(ids)) is
        network(ids)."""

    @property
    @abc.abstractmethod
    def output_variables(self) -> list[keras.Variable]:
        """The weights that `project` reads."""

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes, with one row, of the tensors that decoding carries from call to call:
        float32, zeros at the start."""
        raise ConfigError(f"a network of the family {self.config.family} does not decode")

    def cached_step(
        self,
        tokens: tf.Tensor,
        cache: dict[str, tf.Tensor],
        *,
        input_pos: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        with_logits: bool = True,
    ) -> tuple[tf.Tensor | None, dict[str, tf.Tensor]]:
        """Reads S tokens of one sequence, in float32 and by operations that TFLite has built in.

        Args:
            tokens: ids (1, S) int32; S is 1 where `decodes` is "state".
            cache: tensors as in `cache_spec`.
            input_pos: positions (S,) int32, consecutive. No effect where `decodes` is "state".
            mask: (1, 1, S, C) float32, added to the scores of C positions: 0 where one may be seen,
                very negative elsewhere. No effect where `decodes` is "state".
            with_logits: whether to compute the logits.

        Returns:
            Logits (1, S, V), or None, and the new cache.
        """
        raise ConfigError(f"a network of the family {self.config.family} does not decode")

    def features(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns what the head of a task reads: ids (B, T) int32 -> (B, T, width)."""
        return self.hidden_states(ids, training)

    @property
    def prediction_variables(self) -> list[keras.Variable]:
        """The weights that logits are made of and `features` are not."""
        table = self.token_embedding.embeddings
        return [variable for variable in self.output_variables if variable is not table]

    def cloze_logits(self, ids: np.ndarray) -> np.ndarray:
        """Ids (T,) -> logits (T, V) float32 for the ids at t + 1, from all ids but that one; for a
        network that does not predict the next token."""
        return np.asarray(self(np.asarray(ids, np.int32)[None])[0], np.float32)

    @staticmethod
    def check_vocabulary(config: Any) -> None:
        """Refuses a config without its vocabulary size.

        Raises:
            ConfigError: it is 0.
        """
        if config.vocabulary_size < 1:
            raise ConfigError("model.vocabulary_size is 0; give the tokenizer's vocabulary size")

    def get_config(self) -> dict[str, Any]:
        return {
            "config": to_dict(self.config),
            "precision": self.precision,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "LanguageNetwork":
        return cls(cls.config_class(**config.pop("config")), **config)

    @classmethod
    def enter_registry(cls) -> None:
        """Registers the family and makes its Keras files readable; see `tfscale.register`.

        Raises:
            ConfigError: the class lacks a member that it must have.
        """
        # `abc.ABC` would refuse objects of this class, and Keras makes one of each base class of a
        # functional model.
        missing = [
            name
            for name in dir(cls)
            if getattr(getattr(cls, name, None), "__isabstractmethod__", False)
        ]
        if missing:
            raise ConfigError(f"{cls.__name__} lacks {', '.join(missing)}; see LanguageNetwork")
        FAMILIES.add(cls.config_class.family, cls.config_class)
        _NETWORKS[cls.config_class] = cls
        package = cls.__module__.partition(".")[0]
        keras.saving.register_keras_serializable(package)(cls)


@dataclass(frozen=True)
class Capabilities:
    """What a Keras model of ids -> logits can do, whoever built it.

    Attributes:
        predicts: see `Predicts`.
        decodes: see `Decodes`.
        has_hidden_states: whether it offers `hidden_states`, `project` and `output_variables`.
        stateful: whether it carries its state from batch to batch in training and evaluation.
    """

    predicts: Predicts
    decodes: Decodes
    has_hidden_states: bool
    stateful: bool

    @property
    def is_cloze(self) -> bool:
        """Whether it reads both sides of what it predicts, so that exp(loss) is not a
        perplexity."""
        return self.predicts != "next"


def capabilities(network: Any) -> Capabilities:
    """Returns what a network can do.

    Args:
        network: a `LanguageNetwork`, or a Keras model of somebody's own. The latter declares that
            it reads both sides by `network.cloze = True`, and may offer the members of
            `LanguageNetwork`.
    """
    if isinstance(network, LanguageNetwork):
        stateful = network.config.stateful
        return Capabilities(network.predicts, network.decodes, True, stateful)
    offered = ("hidden_states", "project", "output_variables")
    config = getattr(network, "config", None)
    decodes: Decodes = "none"
    if hasattr(network, "cached_step"):
        decodes = getattr(network, "decodes", "cache")
    return Capabilities(
        predicts=(
            "masked"
            if hasattr(network, "mask_id")
            else "cloze"
            if getattr(network, "cloze", False)
            else "next"
        ),
        decodes=decodes,
        has_hidden_states=all(hasattr(network, name) for name in offered),
        stateful=bool(getattr(config, "stateful", False)),
    )
