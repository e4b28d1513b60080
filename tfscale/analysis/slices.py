"""A score per group of texts, with confidence intervals, and the largest gap.
NumPy only.

Intervals are percentiles of the score over examples drawn anew with replacement (Efron 1979).
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from tfscale.errors import DataError
from tfscale.files.json_text import JsonObject

DRAWS = 1000
"""Samples of the bootstrap."""
CONFIDENCE = 0.95

T = TypeVar("T")


def slices(
    items: Sequence[T],
    groups: Sequence[str],
    score: Callable[[Sequence[T]], float],
    metric: str,
    seed: int = 0,
    draws: int = DRAWS,
) -> JsonObject:
    """Scores each group.

    Args:
        items: what is scored, one for each example.
        groups: the group of each.
        score: items -> the score of them together.
        metric: its name.
        seed: of the samples.
        draws: how many samples.

    Returns:
        `metric`, `confidence`, `groups`: name -> `examples`, `value`, `low` and `high`, largest
            group first; and `gap`:
        `value` between the `highest` and the `lowest`, and its own `low` and `high`.

    Raises:
        DataError: there is one group alone.

    Example:
        slices(scores, ["a", "b", "a"], total_perplexity, "perplexity")["gap"]["value"]
    """
    names = sorted(set(groups), key=lambda name: (-groups.count(name), name))
    if len(names) < 2:
        raise DataError(
            f"all {len(groups)} examples are of the group {names[0]!r}; there is nothing to compare"
        )
    rng = np.random.default_rng(seed)
    found: dict[str, JsonObject] = {}
    samples: dict[str, np.ndarray] = {}
    for name in names:
        members = [item for item, group in zip(items, groups, strict=True) if group == name]
        drawn = rng.integers(0, len(members), (draws, len(members)))
        samples[name] = np.array([score([members[at] for at in row]) for row in drawn])
        low, high = interval(samples[name])
        found[name] = {"examples": len(members), "value": score(members), "low": low, "high": high}
    highest = max(names, key=lambda name: found[name]["value"])
    lowest = min(names, key=lambda name: found[name]["value"])
    low, high = interval(samples[highest] - samples[lowest])
    gap = {
        "value": found[highest]["value"] - found[lowest]["value"],
        "highest": highest,
        "lowest": lowest,
        "low": low,
        "high": high,
    }
    return {"metric": metric, "confidence": CONFIDENCE, "groups": found, "gap": gap}


def total_perplexity(scores: Sequence[tuple[float, int]]) -> float:
    """Perplexity of (summed nats, tokens) of several texts together."""
    nll = sum(one for one, _ in scores) / sum(tokens for _, tokens in scores)
    return math.exp(nll) if nll < 709 else math.inf


def interval(values: np.ndarray) -> tuple[float, float]:
    """Where the middle `CONFIDENCE` of a bootstrap's values lies."""
    rest = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [rest, 1 - rest])
    return float(low), float(high)
