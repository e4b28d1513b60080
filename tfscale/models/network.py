"""`LanguageNetwork`: the interface of every language model of tfscale.

A family is a config class and a subclass of `LanguageNetwork`, registered by `tfscale.register`.
What a network can do is declared here and asked here: nobody else looks for a family's name, a
class or an attribute. A Keras model that somebody else built has the same answers by
`tfscale.models.capability`, as far as it offers the same members.

Shapes: B rows, T tokens, D width of the hidden states, V vocabulary, S tokens of one call.
"""

import abc
import importlib
from collections.abc import Sequence
from typing import ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import KerasConfig
from tfscale.config import NetworkConfig, Precision, to_dict
from tfscale.config.models import Predicts, network_families
from tfscale.errors import ConfigError
from tfscale.models.shrinking import UnitGroup
from tfscale.registry import FAMILIES

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
        decodes: how it generates; see `Decodes`. Where it is not "none", `cache_spec` and
            `cached_step` are there.
        attends: whether `hidden_states` takes `visible`, so that a source can be read in both
            directions; see `tfscale.models.attention`.
        separates: whether `hidden_states`, and `carry` where it carries a state, take `documents`,
            a `tfscale.models.documents.Documents`, and then compute each document of a window as
            if it stood alone.

    Example:
        @tfscale.register
        class ConvolutionLM(tfscale.LanguageNetwork):
            config_class = ConvolutionConfig
            decodes = "state"
    """

    config_class: ClassVar[type[NetworkConfig]]
    decodes: ClassVar[Decodes] = "none"
    attends: ClassVar[bool] = False
    separates: ClassVar[bool] = False
    config: NetworkConfig
    precision: Precision
    seed: int
    token_embedding: keras.layers.Embedding
    """The layer with the table `embeddings` (V, E) that ids are looked up in."""

    @property
    def predicts(self) -> Predicts:
        """The target of the logits at t, which the config declares."""
        return self.config.predicts

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
        """Returns names and shapes, with one row, of the tensors that decoding carries from call to
        call: float32, zeros at the start."""
        raise ConfigError(f"a network of the family {self.config.family} does not decode")

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
        """Reads S tokens of one sequence, in float32 and by operations that TFLite has built in.

        Args:
            tokens: ids (1, S) int32; S is 1 where `decodes` is "state".
            cache: tensors as in `cache_spec`.
            input_pos: positions (S,) int32, consecutive. No effect where `decodes` is "state".
            mask: (1, 1, S, C) float32, added to the scores of C positions: 0 where one may be seen,
                very negative elsewhere. No effect where `decodes` is "state".
            with_logits: whether to compute the logits.
            with_hidden: whether to return what `hidden_states` does instead of the logits.

        Returns:
            Logits (1, S, V), or hidden states (1, S, D), or None, and the new cache.
        """
        raise ConfigError(f"a network of the family {self.config.family} does not decode")

    def carry(
        self,
        ids: tf.Tensor,
        states: Sequence[tf.Tensor],
        training: bool = False,
        remat: bool = False,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns `hidden_states` of a window that follows another; where `config.stateful`.

        Args:
            ids: token ids (B, T) int32.
            states: one (B, U) float32 for each name of `cache_spec`, such as `first_states` gives;
                constants, to which no gradient goes.
            training: whether dropout is on.
            remat: as in `hidden_states`.

        Returns:
            Hidden states, and the states after the last token, for the next window.
        """
        raise ConfigError(f"a network of the family {self.config.family} carries no state")

    def first_states(self, rows: int) -> list[tf.Tensor]:
        """Returns the states at the beginning of a text: zeros (B, ...) float32 for each name of
        `cache_spec`."""
        return [tf.zeros((rows, *shape[1:])) for shape in self.cache_spec().values()]

    def features(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns what the head of a task reads: ids (B, T) int32 -> (B, T, width)."""
        return self.hidden_states(ids, training)

    @property
    def prediction_variables(self) -> list[keras.Variable]:
        """The weights that logits are made of and `features` are not."""
        table = self.token_embedding.embeddings
        return [variable for variable in self.output_variables if variable is not table]

    def vocabulary_axes(self) -> dict[str, int]:
        """Returns the axis with an entry for each token, by the path of each weight that has one:
        the rows of the table, the last axis of other output variables."""
        table = self.token_embedding.embeddings
        axes = {variable.path: len(variable.shape) - 1 for variable in self.output_variables}
        return axes | {table.path: 0}

    def unit_groups(self, size: str, count: int) -> list[UnitGroup]:
        """Returns the units that can be removed, one group for each layer that has some.

        Args:
            size: a size of `tfscale.config.shrinking.ShrinkConfig`.
            count: the number of units that are to be left in each group.

        Returns:
            The groups; none where the network has no such units.

        Raises:
            ConfigError: it cannot be as small as that.
        """
        return []

    def factors(self, size: str, rank: int) -> dict[str, np.ndarray] | None:
        """Returns the new weights, by path, of the network whose matrices have a lower rank.

        Args:
            size: a rank of `tfscale.config.shrinking.ShrinkConfig`.
            rank: the rank.

        Returns:
            The weights that change in `build_network(config.shrunken(...))`; None where the network
            has no such matrices.

        Raises:
            ConfigError: the rank saves nothing.
        """
        return None

    def cloze_logits(self, ids: np.ndarray) -> np.ndarray:
        """Ids (T,) -> logits (T, V) float32 for the ids at t + 1, from all ids but that one; for a
        network that does not predict the next token."""
        return np.asarray(self(np.asarray(ids, np.int32)[None])[0], np.float32)

    @staticmethod
    def check_vocabulary(config: NetworkConfig) -> None:
        """Refuses a config without its vocabulary size.

        Raises:
            ConfigError: it is 0.
        """
        if config.vocabulary_size < 1:
            raise ConfigError("model.vocabulary_size is 0; give the tokenizer's vocabulary size")

    def get_config(self) -> KerasConfig:
        return {
            "config": to_dict(self.config),
            "precision": self.precision,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: KerasConfig, custom_objects: object = None) -> "LanguageNetwork":
        options = cls.config_class.of_record(config.pop("config"))
        return cls(cls.config_class(**options), **config)

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


def import_networks() -> None:
    """Imports the networks of all families, so that Keras finds their classes in files."""
    for config_class in network_families().values():
        network_class(config_class)


def as_language_network(model: keras.Model) -> LanguageNetwork | None:
    """Returns a model of `build_network` as it is, and None for any other."""
    return model if isinstance(model, LanguageNetwork) else None


def network_class(config_class: type[NetworkConfig]) -> type[LanguageNetwork]:
    """Returns the class of a family's networks, whose module is imported if it has to be.

    Raises:
        ConfigError: the family has no network.
    """
    if config_class not in _NETWORKS and config_class.network:
        importlib.import_module(config_class.network)
    if config_class not in _NETWORKS:
        known = sorted(network_families())
        raise ConfigError(f"no model family for {config_class.__name__}; expected one of {known}")
    return _NETWORKS[config_class]
