"""Sparsity: which part of a weight is zero, counted."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Sparsity:
    """A weight, and which part of it is zero."""

    path: str
    shape: tuple[int, ...]
    zeros: int
    size: int

    @property
    def fraction(self) -> float:
        """Zeros per weight, 0 to 1."""
        return self.zeros / self.size


def measure_sparsity(weights: Sequence[keras.Variable]) -> list[Sparsity]:
    """Counts the zeros of weights as they are."""
    arrays = [np.asarray(tf.convert_to_tensor(weight.value)) for weight in weights]
    return [
        Sparsity(weight.path, array.shape, int((array == 0).sum()), array.size)
        for weight, array in zip(weights, arrays, strict=True)
    ]
