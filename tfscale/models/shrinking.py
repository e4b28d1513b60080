"""Parts of a network that can become smaller: units that can be removed, and matrices that can
become products of two narrow ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.errors import ConfigError

Arrays = Mapping[str, np.ndarray]
"""Weights, or products of weights and gradients, by the weights' paths."""


@dataclass(frozen=True)
class UnitGroup:
    """The units of one layer, any of which can be removed.

    Attributes:
        reads: what each unit reads, from all arrays: (n, units).
        is_read: what reads each unit, from all arrays: (m, units).
        places: the entries of weights that stay with the units of these ascending numbers: the
            path of a weight, an axis of it, and the indices along it.
    """

    reads: Callable[[Arrays], np.ndarray]
    is_read: Callable[[Arrays], np.ndarray]
    places: Callable[[np.ndarray], Sequence[tuple[str, int, np.ndarray]]]


def factorize(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the two factors (m, R) and (R, n) of least squared error (Eckart and Young 1936),
    each with the square root of the singular values.

    Example:
        left, right = factorize(kernel, 32)
    """
    left, values, right = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    root = np.sqrt(values[:rank])
    first, second = left[:, :rank] * root, root[:, None] * right[:rank]
    return first.astype(np.float32), second.astype(np.float32)


def narrow_table(table: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the factors (V, R) and (R, E) of a table of tokens. The first keeps the singular
    values, so that its rows are as long as they were."""
    left, values, right = np.linalg.svd(np.asarray(table, np.float64), full_matrices=False)
    return left[:, :rank] * values[:rank], right[:rank]


def check_smaller(name: str, value: int, before: int) -> None:
    """Checks a number of units.

    Raises:
        ConfigError: it is not less than before.
    """
    if not 0 < value < before:
        raise ConfigError(
            f"shrink.{name}={value} is out of range; expected 1 to {before - 1}, less than the"
            " model has"
        )


def check_rank(name: str, rank: int, limit: int) -> None:
    """Checks a rank.

    Raises:
        ConfigError: two factors of this rank have as many weights as the matrix, or more.
    """
    if not 0 < rank < limit:
        raise ConfigError(f"shrink.{name}={rank} saves nothing here; expected 1 to {limit - 1}")
