"""`HubTensor`: a weight under the name and in the shape of transformers, read when it is written,
and its place in a network.

Shapes: D inputs of a matrix, F outputs, V rows of a table.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras.layers import Layer


@dataclass(frozen=True)
class HubPlace:
    """The numbers of a weight of a network that a tensor holds.

    Attributes:
        variable: the weight.
        first: the first of its columns, or of its numbers if it is a vector.
        turned: whether the tensor is (F, D) and the weight (D, F).
        plus: what the tensor has more.
    """

    variable: keras.Variable
    first: int = 0
    turned: bool = False
    plus: float = 0.0


@dataclass(frozen=True)
class HubTensor:
    """A tensor of a checkpoint.

    Attributes:
        name: in the file.
        shape: in the file.
        read: returns it as float32; nothing is held before.
        place: where it stands in the network; None for what the network does not have.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    place: HubPlace | None = None

    def inside(self, block: str) -> "HubTensor":
        """Returns the tensor with the name of its block before its own."""
        return dataclasses.replace(self, name=f"{block}.{self.name}")


def table(name: str, variable: keras.Variable) -> HubTensor:
    """Returns a weight as it is."""
    shape = tuple(variable.shape)
    return HubTensor(name, shape, lambda: np.asarray(variable), HubPlace(variable))


def turned(name: str, variable: keras.Variable, first: int = 0, count: int = 0) -> HubTensor:
    """Returns columns of a matrix (D, F) as PyTorch stores them, (F, D).

    Args:
        name: in the file.
        variable: the matrix.
        first: the first of the columns.
        count: how many; 0 for all.
    """
    rows, columns = variable.shape
    count = count or columns - first

    def read() -> np.ndarray:
        return np.asarray(variable)[:, first : first + count].T

    return HubTensor(name, (count, rows), read, HubPlace(variable, first, turned=True))


def vector(
    name: str, variable: keras.Variable, first: int = 0, count: int = 0, plus: float = 0.0
) -> HubTensor:
    """Returns numbers of a vector.

    Args:
        name: in the file.
        variable: the vector.
        first: the first of the numbers.
        count: how many; 0 for all.
        plus: is added to each.
    """
    count = count or variable.shape[0] - first

    def read() -> np.ndarray:
        numbers = np.asarray(variable)[first : first + count]
        return numbers + np.float32(plus) if plus else numbers

    return HubTensor(name, (count,), read, HubPlace(variable, first, plus=plus))


def zeros(name: str, count: int) -> HubTensor:
    """Returns a bias that the network does not have."""
    return HubTensor(name, (count,), lambda: np.zeros(count, np.float32))


def bias(name: str, layer: Layer, first: int = 0, count: int = 0) -> HubTensor:
    """Returns numbers of the bias of a dense layer; zeros where it has none.

    Args:
        name: in the file.
        layer: the layer.
        first: the first of the numbers.
        count: how many; 0 for all.
    """
    if layer.use_bias:
        return vector(name, layer.bias, first, count)
    return zeros(name, count or layer.units - first)
