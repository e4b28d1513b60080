"""The n-grams of one order with their weights."""

from dataclasses import dataclass

import numpy as np

CODES = 256
"""Values that probabilities and back-offs of an order are rounded to in a quantized file."""
_NEGLIGIBLE = -30.0


@dataclass(frozen=True)
class Level:
    """The n-grams of one order.

    Attributes:
        keys: (U,) uint64, see `tfscale.ngram.count.Counts`.
        log_probabilities: (U,) natural logarithms.
        log_backoffs: (U,) natural logarithms of the back-off weights.
    """

    keys: np.ndarray
    log_probabilities: np.ndarray
    log_backoffs: np.ndarray


def rounded(values: np.ndarray) -> np.ndarray:
    """Returns logarithms with at most `CODES` different values, each the mean of a bin."""
    book, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(book) <= CODES:
        return values
    # Bins of equal width in the logarithm bound the relative error of each probability, also of the
    # few large ones, which weigh most in a sum.
    # Back-off weights of next to nothing have a bin of their own, or they would make the others
    # wide.
    usual = book[book > _NEGLIGIBLE]
    places_in_range = (np.maximum(book, usual[0]) - usual[0]) / (usual[-1] - usual[0]) * (CODES - 1)
    bins = np.where(
        book > _NEGLIGIBLE, 1 + np.minimum(places_in_range.astype(np.int64), CODES - 2), 0
    )
    sums = np.bincount(bins, book.astype(np.float64) * counts, CODES)
    means = sums / np.maximum(np.bincount(bins, counts, CODES), 1)
    return means.astype(np.float32)[bins[places]]
