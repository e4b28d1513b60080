"""Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998).

It has the choices of KenLM's lmplz.

Of the highest order, counts are what they are. Below it, an n-gram counts as often as different
tokens stand before it; only one that begins a document, before which nothing can stand, keeps its
own count (Heafield et al. 2013).

Shapes: U n-grams of an order.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.errors import ConfigError
from tfscale.files.scratch import scratch_folder, scratch_writes
from tfscale.ngram.count import Counts, new_file, token_bits
from tfscale.ngram.levels import Level
from tfscale.ngram.model import NGramModel

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts of n-grams that count 1, 2 and more, where an order has too few n-grams to estimate
them."""
_PART = 4_000_000
"""N-grams that are worked on at once; all that is as long as an order lies in files."""


@dataclass(frozen=True)
class _Order:
    """An order while it is estimated.

    `suffixes` are numbers of the n-grams without their first token.
    """

    keys: np.ndarray
    raw: np.ndarray
    suffixes: np.ndarray
    begins: np.ndarray


def estimate(
    counts: Sequence[Counts],
    *,
    vocabulary_size: int,
    end_id: int,
    min_counts: Sequence[int] = (),
    beside: str = "",
) -> NGramModel:
    """Makes a model from the counts of `count_ngrams`.

    Args:
        counts: one for each order.
        vocabulary_size: V; the unigrams are interpolated with 1 / V.
        end_id: the token after each document.
        min_counts: the least count of the n-grams that are kept, by order; the last one holds for
            the orders above it. The mass of those that are not kept goes to the shorter n-grams. It
            must not fall from order to order.
        beside: as in `count_ngrams`.

    Raises:
        ConfigError: `min_counts` falls, or drops unigrams.

    Example:
        estimate(counts, vocabulary_size=256, end_id=0, min_counts=[1, 1, 2])
    """
    least = _least_counts(min_counts, len(counts))
    bits = np.uint64(token_bits(vocabulary_size))
    with scratch_writes(beside), scratch_folder("tfscale-estimate-", beside) as folder:
        orders = _with_suffixes(counts, bits, end_id, folder)
        adjusted = _adjusted(orders[0], orders[1] if len(orders) > 1 else None)
        discounted = adjusted - _discounts(adjusted)[np.minimum(adjusted, 3)]
        share = discounted / adjusted.sum()
        lower: np.ndarray = share + (1 - share.sum()) / vocabulary_size
        levels = [
            Level(
                np.asarray(orders[0].keys),
                np.log(lower).astype(np.float32),
                np.zeros(0, np.float32),
            )
        ]
        kept_below = np.ones(vocabulary_size, bool)
        for k, order in enumerate(orders[1:], 2):
            above = orders[k] if k < len(orders) else None
            size = len(kept_below)
            kept, backoff, lower = _smooth(
                order, above, lower, size, least[k - 1], bits, _path(folder, "p", k)
            )
            levels[-1] = _with_backoff(levels[-1], backoff[kept_below])
            keys = _renumbered(order.keys[kept], kept_below, bits)
            levels.append(
                Level(keys, np.log(lower[kept]).astype(np.float32), np.zeros(0, np.float32))
            )
            kept_below = kept
        levels[-1] = _with_backoff(levels[-1], np.ones(len(levels[-1].keys)))
    return NGramModel(levels, vocabulary_size, end_id)


def _smooth(
    order: _Order,
    above: _Order | None,
    lower: np.ndarray,
    contexts: int,
    least: int,
    bits: np.uint64,
    path: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns which n-grams are kept (U,), the back-off of each context, and probabilities (U,).

    The probabilities lie in a file.
    """
    adjusted = _adjusted(order, above)
    discounts = _discounts(adjusted)
    total, taken = np.zeros(contexts), np.zeros(contexts)
    kept = np.empty(len(order.keys), bool)
    for part in _parts(len(order.keys)):
        places = (order.keys[part] >> bits).astype(np.int64)
        kept[part] = order.raw[part] >= least
        discounted = adjusted[part] - discounts[np.minimum(adjusted[part], 3)]
        # Sorted keys: the contexts of a part are neighbours.
        first, span = places[0], slice(places[0], places[-1] + 1)
        total[span] += np.bincount(places - first, adjusted[part])
        taken[span] += np.bincount(places - first, discounted * kept[part])
    # A context that nothing follows gives all of its mass to the shorter one.
    backoff = np.where(total > 0, 1 - taken / np.maximum(total, 1), 1.0)
    probabilities = new_file(path, np.float64, len(order.keys))
    for part in _parts(len(order.keys)):
        places = (order.keys[part] >> bits).astype(np.int64)
        discounted = adjusted[part] - discounts[np.minimum(adjusted[part], 3)]
        probabilities[part] = (
            discounted / total[places] + backoff[places] * lower[order.suffixes[part]]
        )
    return kept, backoff, probabilities


def _least_counts(min_counts: Sequence[int], order: int) -> list[int]:
    least = list(min_counts or [1])
    least = [*least, *[least[-1]] * (order - len(least))][:order]
    if least[0] != 1 or any(a > b for a, b in zip(least, least[1:], strict=False)):
        raise ConfigError(
            f"min_counts={list(min_counts)} must begin with 1 (unigrams stay) and not fall from"
            " order to order, such as 1 1 2"
        )
    return least


def _with_suffixes(
    counts: Sequence[Counts], bits: np.uint64, end_id: int, folder: str
) -> list[_Order]:
    first = counts[0]
    orders = [
        _Order(first.keys, first.counts, np.zeros(0, np.uint32), np.zeros(len(first.keys), bool))
    ]
    mask = (np.uint64(1) << bits) - np.uint64(1)
    for k, level in enumerate(counts[1:], 2):
        below, size = orders[-1], len(level.keys)
        suffixes, begins = new_file(_path(folder, "s", k), np.uint32, size), np.empty(size, bool)
        for part in _parts(size):
            keys = level.keys[part]
            contexts, tokens = (keys >> bits).astype(np.int64), keys & mask
            if k == 2:
                suffixes[part], begins[part] = tokens, contexts == end_id
            else:
                wanted = (below.suffixes[contexts].astype(np.uint64) << bits) | tokens
                suffixes[part] = np.searchsorted(below.keys, wanted)
                begins[part] = below.begins[contexts]
        orders.append(_Order(level.keys, level.counts, suffixes, begins))
    return orders


def _adjusted(order: _Order, above: _Order | None) -> np.ndarray:
    if above is None:
        return np.asarray(order.raw)
    different = np.zeros(len(order.keys), np.int64)
    for part in _parts(len(above.keys)):
        np.add.at(different, above.suffixes[part], 1)
    different[order.begins] = order.raw[order.begins]
    return different


def _path(folder: str, name: str, k: int) -> str:
    return os.path.join(folder, f"{name}{k}")


def _parts(size: int) -> Iterator[slice]:
    return (slice(start, min(start + _PART, size)) for start in range(0, size, _PART))


def _discounts(adjusted: np.ndarray) -> np.ndarray:
    """Returns the discounts (4,) of n-grams of count 0, 1, 2 and 3 or more."""
    n1, n2, n3, n4 = (int((adjusted == count).sum()) for count in (1, 2, 3, 4))
    if min(n1, n2, n3) > 0:
        y = n1 / (n1 + 2 * n2)
        discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 < discount < count for count, discount in enumerate(discounts, 1)):
            return np.array([0.0, *discounts])
    return np.array([0.0, *FALLBACK])


def _renumbered(keys: np.ndarray, kept_below: np.ndarray, bits: np.uint64) -> np.ndarray:
    """Returns keys with the numbers of their contexts among those that are kept.

    An n-gram occurs no more often than its context, so the context of one that is kept is kept.
    """
    numbers = (np.cumsum(kept_below) - 1).astype(np.uint64)
    contexts = (keys >> bits).astype(np.int64)
    assert kept_below[contexts].all()
    return (numbers[contexts] << bits) | (keys & ((np.uint64(1) << bits) - np.uint64(1)))


def _with_backoff(level: Level, backoff: np.ndarray) -> Level:
    with np.errstate(divide="ignore"):
        logs = np.log(backoff)
    # All of a context's mass may lie on n-grams that are there; then nothing is left to back off
    # with.
    return Level(level.keys, level.log_probabilities, np.maximum(logs, -99.0).astype(np.float32))
