"""`HubTensor`: a weight under the name and in the shape of transformers, read when it is written.

Shapes: D inputs of a matrix, F outputs, V rows of a table.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras.layers import Layer


@dataclass(frozen=True)
class HubTensor:
    """A tensor of a checkpoint.

    Attributes:
        name: in the file.
        shape: in the file.
        read: returns it as float32; nothing is held before.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def table(name: str, variable: keras.Variable) -> HubTensor:
    """Returns a weight as it is."""
    return HubTensor(name, tuple(variable.shape), lambda: np.asarray(variable))


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
    return HubTensor(name, (count, rows), lambda: np.asarray(variable)[:, first : first + count].T)


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

    return HubTensor(name, (count,), read)


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
