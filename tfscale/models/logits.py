"""Differences and spreads of logits, without those of tokens that are masked out.

Shapes: V vocabulary.
"""

import math
from collections.abc import Iterable

import numpy as np

_NEGLIGIBLE = 1000.0
"""A logit so far below the largest of its row has the probability 0 in float64 too: a token that is
masked out."""


def counted(logits: np.ndarray) -> np.ndarray:
    """Returns which logits (..., V) are not negligible; those that are not numbers are counted."""
    return ~(logits <= logits.max(axis=-1, keepdims=True) - _NEGLIGIBLE)


def difference(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Returns file minus network (..., V) float64; 0 where a token is masked out by both."""
    either = counted(actual) | counted(expected)
    with np.errstate(invalid="ignore"):
        return np.where(either, actual.astype(np.float64) - expected, 0.0)


def spread(logits: Iterable[np.ndarray]) -> float:
    """Returns the root mean square of logits (..., V) around each token's mean.

    Softmax does not see a common shift.
    """
    squares, count = 0.0, 0
    for rows in logits:
        seen = counted(rows)
        values = np.where(seen, rows, 0.0).astype(np.float64)
        numbers = seen.sum(axis=-1, keepdims=True)
        squares += float(
            np.square(np.where(seen, values - values.sum(-1, keepdims=True) / numbers, 0.0)).sum()
        )
        count += int(numbers.sum())
    return max(math.sqrt(squares / count), 1e-12)
