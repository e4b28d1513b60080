"""`Recipe`: a way to store the weights of a network in a file, and what follows from it.

Training for a recipe, the size of a file, the limits of its comparison with the network, and the
order in which `search` tries it are all asked of the recipe.

Shapes: D inputs of a matrix, F outputs, V rows of a table.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from tfscale.registry import RECIPES

BLOCKS = (64, 32)
"""Sizes of the blocks of weights that share a scale in int4; the first that divides a sum is
taken."""


@dataclass(frozen=True)
class WeightFormat:
    """The format in which the numbers of a weight are stored.

    Attributes:
        bits: 32, 16, 8 or 4 of each number.
        axis: the axis that products sum over, or the several: 0 of a kernel (D, F), 1 of a table
            (V, D). All weights along it share a scale, if there is no `block`.
        block: the number of weights along `axis` that share a scale; 0 for all. Several axes are
            laid out as one, the last of them the fastest.
        gates: if not 0, the last axis is cut into as many equal parts, and all weights of a part
            share a scale.
    """

    bits: Literal[32, 16, 8, 4]
    axis: int | tuple[int, ...] = 0
    block: int = 0
    gates: int = 0

    def scales_of(self, shape: tuple[int, ...]) -> int:
        """Returns the number of scales of an int8 weight of this shape."""
        if self.bits != 8:
            return 0
        axes = (self.axis,) if isinstance(self.axis, int) else self.axis
        kept = [size for axis, size in enumerate(shape) if axis not in axes]
        return self.gates or int(np.prod(kept))

    def bytes_of(self, shape: tuple[int, ...]) -> int:
        """Returns the bytes of the numbers and of int4's scales (float16); int8's scales count with
        the graph."""
        size = int(np.prod(shape))
        scales = 2 * (size // self.block) if self.block else 0
        return size * self.bits // 8 + scales


@dataclass(frozen=True)
class StoredWeight:
    """The facts of a weight that decide how a recipe stores it.

    Attributes:
        shape: of the weight.
        summed_axes: the axes that its products sum over; None for vectors and other weights that
            stay float.
        is_table: whether its rows are looked up by ids.
        fused_gates: parts of its last axis that must share a scale each, because the weight belongs
            to an LSTM that is one operation for a whole window; 0 for any other.
        convolved: whether it is the kernel of a convolution, which the runtime has no blocks for.
        is_bias: whether it is added to a product; that of a GRU has two rows.
    """

    shape: tuple[int, ...]
    summed_axes: tuple[int, ...] | None
    is_table: bool = False
    fused_gates: int = 0
    convolved: bool = False
    is_bias: bool = False

    @property
    def is_vector(self) -> bool:
        """Whether a file has it in vectors: a bias, and whatever has one axis or none that is
        longer than 1."""
        return self.is_bias or sum(size > 1 for size in self.shape) < 2


class Recipe(abc.ABC):
    """A way to store the weights of a network; subclasses are registered by `tfscale.register`.

    Attributes:
        name: as in `--quantize`.
        words: how the weights are stored, for READMEs: "float16 (computed in float32)".
        converted_as: type of matrices and tables where they are not rounded.
        rounds: whether the weights are rounded to integers after the conversion. Training can
            imitate these recipes, and those alone.
        blocks_in: operations of the file that read weights in blocks of int4, and what the names of
            these weights begin with.
        perplexity_change: how far the perplexity of a file may be from the network's, relative.
        advice: what to do where a file is not close enough to its network.
        worth: value of a weight relative to int8 for `search`; 0 for a recipe that it does not try.
        tunable: whether training for the recipe brings something back.
        prunable: whether `search` tries it with zeros, where the compressed size counts.
        packed: bytes that gzip makes of a stored byte.

    Example:
        @tfscale.register
        class Half(tfscale.Recipe):
            name, words, perplexity_change = "half", "float16", 1e-3
            converted_as = "float16"

            def format_of(self, weight):
                return WeightFormat(bits=32 if weight.is_vector else 16)
    """

    name: ClassVar[str]
    words: ClassVar[str]
    converted_as: ClassVar[Literal["float32", "float16"]] = "float32"
    rounds: ClassVar[bool] = False
    blocks_in: ClassVar[Mapping[str, str]] = MappingProxyType({})
    perplexity_change: ClassVar[float]
    advice: ClassVar[str] = ""
    worth: ClassVar[float] = 0.0
    tunable: ClassVar[bool] = False
    prunable: ClassVar[bool] = False
    packed: ClassVar[float] = 0.97

    @abc.abstractmethod
    def format_of(self, weight: StoredWeight) -> WeightFormat:
        """Returns the format in which the file stores a weight."""

    @classmethod
    def enter_registry(cls) -> None:
        """Registers the recipe by its name; see `tfscale.register`."""
        RECIPES.add(cls.name, cls)


def recipe(name: str) -> Recipe:
    """Returns the recipe of this name.

    Raises:
        ConfigError: there is none; the closest name is given.

    Example:
        recipe("int4").format_of(StoredWeight((128, 256), (0,)))    # bits=4, block=64
    """
    return RECIPES.get(name)()


def block_of(length: int) -> int:
    """Returns the block size of a matrix whose products sum over `length` weights; 0 where no block
    fits."""
    return next((block for block in BLOCKS if length % block == 0), 0)
