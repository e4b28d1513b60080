"""`ModelConfig` and `NetworkConfig`: the bases of the config classes of all model families.

A config class holds the options of its family, and answers every question about a model that needs
no TensorFlow: how many weights it has, what it costs, how it can be made smaller. The families are
in `tfscale.config.families`, one file each.
"""

import abc
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

from tfscale.config.costs import Costs
from tfscale.config.fields import rare
from tfscale.config.options import Options
from tfscale.config.shrinking import ShrinkConfig
from tfscale.errors import ConfigError, check_range
from tfscale.registry import FAMILIES

Predicts = Literal["next", "cloze", "masked"]
"""next: the next token from those before it; cloze: the next token from those before and after it;
masked: hidden tokens at their own places, from all others."""

EXPORT_USE = "export RUN --output export"
WRITES = ("generate RUN --prompt TEXT", f"{EXPORT_USE} --quantize int8")
"""Uses of a run that writes text."""

_RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "positive": (lambda value: value >= 1, "1 or more"),
    "default_0": (lambda value: value >= 0, "0 (its default) or more"),
    "rates": (lambda value: 0 <= value < 1, "0 to below 1"),
    "weights": (lambda value: value >= 0, "0 or more"),
}


@dataclass(frozen=True)
class Masking:
    """The way in which tokens are hidden from a model that predicts hidden tokens.

    Attributes:
        mask_id: the token that stands for a hidden one.
        rate: fraction of the tokens of a training window that are to be predicted.
    """

    mask_id: int
    rate: float

    @property
    def parts(self) -> int:
        """Passes in which every token is hidden once, as many at a time as in training."""
        return round(1 / self.rate)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Options):
    """Base of the config classes of all model families, n-grams included."""

    section: ClassVar[str] = "model"
    family: ClassVar[str]
    """The name of the family, as in `--model.family`."""
    network: ClassVar[str] = ""
    """Module with the family's `LanguageNetwork`, imported when a network is built. Empty for
    n-grams, and for a family whose network is registered by the module that defines it."""
    predicts: ClassVar[Predicts] = "next"
    """The target of the logits at t."""
    uses: ClassVar[tuple[str, ...]] = WRITES
    """Commands that make use of a trained run, RUN."""
    counted: ClassVar[bool] = False
    """Whether it is counted in one pass over the data, as n-grams are, and not trained in steps."""
    has_presets: ClassVar[bool] = False
    """Whether `tfscale.config.presets` has sizes of it by name, for `--model.preset`."""
    compared_as: ClassVar[Mapping[str, int | float | bool]] = MappingProxyType({})
    """Options of the size that `tfscale compare` takes for two cores and minutes."""

    vocabulary_size: int = rare(0)
    """Entries of the vocabulary; 0 takes the tokenizer's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.vocabulary_size
        check_range(size >= 0, "vocabulary_size", size, "0 (the tokenizer's) or more")

    def check_options(self, **names: tuple[str, ...]) -> None:
        """Checks the ranges of options.

        Args:
            **names: names of the options that are `positive` (1 or more), `default_0` (0 or more),
                `rates` (0 to below 1) or `weights` (0 or more).

        Raises:
            ConfigError: one of them is out of range.
        """
        for kind, options in names.items():
            holds, expected = _RANGES[kind]
            for name in options:
                value = getattr(self, name)
                check_range(holds(value), f"model.{name}", value, expected)

    @property
    def stateful(self) -> bool:
        """Whether a batch begins with the state that the one before it ended with."""
        return False

    @classmethod
    def enter_registry(cls) -> None:
        """Registers the family by its name; see `tfscale.register`."""
        FAMILIES.add(cls.family, cls)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(ModelConfig, abc.ABC):
    """Base of the config classes of the families that are networks: see `tfscale.LanguageNetwork`.

    A family of your own defines `parameter_count`. Everything else has a default: its costs are
    estimated from the number of weights, and it cannot be made smaller.

    Example:
        @dataclass(frozen=True, kw_only=True)
        class ConvolutionConfig(NetworkConfig):
            family = "convolution"
            hidden_dim: int = 128

            def parameter_count(self) -> int:
                return 2 * self.vocabulary_size * self.hidden_dim + 4 * self.hidden_dim**2
    """

    counted: ClassVar[Literal[False]] = False
    optimizer: ClassVar[str] = "adamw"
    """Optimizer where the training options name none."""
    learning_rate: ClassVar[float] = 1e-3
    """Peak learning rate of AdamW where the training options name none; other optimizers have
    multiples of it."""
    sequential: ClassVar[bool] = False
    """Whether its layers read one token after the other; the default learning rates of optimizers
    differ by it."""
    xla_on_gpu: ClassVar[bool] = True
    """Whether XLA makes it faster on a GPU. It does not where layers run by cuDNN without it."""

    sequence_length: int = 128
    """Length of a training window in tokens."""

    @property
    def max_context(self) -> int | None:
        """The most tokens that it can read at once; None for any number."""
        return None

    @property
    def masking(self) -> Masking | None:
        """The way in which training windows hide tokens; None for a model that reads all of
        them."""
        return None

    @property
    def embedding_width(self) -> int:
        """Width of a row of the token embedding, for word vectors that it can start from."""
        raise ConfigError(
            f"the family {self.family} does not declare its embedding_width, so it cannot start"
            " from word vectors"
        )

    @abc.abstractmethod
    def parameter_count(self) -> int:
        """Returns the number of trainable weights."""

    def matmul_shapes(self, tokens: int) -> Iterator[tuple[int, int, int]]:
        """Yields (m, k, n) of the forward matrix products with weights, for `tokens` tokens at
        once; by default one product with a square matrix of all weights."""
        side = max(1, math.isqrt(self.parameter_count()))
        yield tokens, side, side

    def hidden_matrices(self) -> list[tuple[int, int]]:
        """Returns the shapes of the matrices of hidden layers, without embeddings and the output
        layer: by default those of `matmul_shapes` but its last, which is the output layer's."""
        return [(k, n) for _, k, n in self.matmul_shapes(1)][:-1]

    def lookup_tables(self) -> list[tuple[int, int]]:
        """Returns the shapes of the weights of two axes that are in no product of `matmul_shapes`,
        such as an embedding that the output layer does not share; by default none."""
        return []

    def product_flops(self) -> float:
        """Returns forward operations per token of the products with weights."""
        t = self.sequence_length
        return sum(2.0 * m * k * n for m, k, n in self.matmul_shapes(t)) / t

    def costs(self) -> Costs:
        """Returns what the model costs to train; by default an estimate from its weights.

        A Transformer keeps about eight values per token for each row of a square matrix of all its
        weights; that is the estimate.
        """
        side = max(1, math.isqrt(self.parameter_count()))
        return Costs(
            parameters=self.parameter_count(),
            forward_flops=self.product_flops(),
            layers=1,
            block_values=8 * side,
            block_float32=0.0,
            kept_values=side,
            edge_values=3 * side,
            vocabulary_size=self.vocabulary_size,
            estimated=True,
        )

    def shrink_ladder(self) -> list[ShrinkConfig]:
        """Returns the sets of sizes that `search` tries, the largest first, each once; by default
        only the model's own."""
        return [ShrinkConfig()]

    def shrunken(self, shrink: ShrinkConfig) -> "NetworkConfig":
        """Returns the config of the model after it was shrunk.

        Raises:
            ConfigError: the family has no such sizes.
        """
        if shrink.shrinks:
            sizes = ", ".join(f"shrink.{name}" for name in shrink.sizes())
            raise ConfigError(f"a model of the family {self.family} has no {sizes}")
        return self


def network_families() -> dict[str, type[NetworkConfig]]:
    """Returns the config classes of the families that are networks, by name."""
    return {config.family: config for config in FAMILIES if issubclass(config, NetworkConfig)}
