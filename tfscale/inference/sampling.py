"""Draws the next token from logits; NumPy only."""

from collections.abc import Collection

import numpy as np

from tfscale.config import SamplingConfig
from tfscale.errors import TfscaleError


def penalize_repetition(
    logits: np.ndarray, seen_ids: Collection[int], penalty: float
) -> np.ndarray:
    """Makes tokens already seen less likely (Keskar et al. 2019, "CTRL", section 4.1).

    Args:
        logits: (V,).
        seen_ids: ids that occurred; how often has no effect.
        penalty: positive logits are divided by it, negative ones multiplied; 1 changes nothing.

    Returns:
        New logits (V,).
    """
    penalized = np.array(logits, np.float64)
    seen = np.unique(np.fromiter(seen_ids, np.int64, len(seen_ids)))
    values = penalized[seen]
    penalized[seen] = np.where(values > 0, values / penalty, values * penalty)
    return penalized


def candidates(logits: np.ndarray, config: SamplingConfig) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tokens that may be drawn, and their probabilities.

    The temperature is applied first, then top-k, then top-p.

    Args:
        logits: (V,), float64.
        config: its temperature must be above 0.

    Returns:
        Ids and probabilities (sum 1). Of equally likely tokens the lower id counts as the more
        likely one.
    """
    with np.errstate(over="ignore"):  # A tiny temperature leaves the likeliest tokens alone.
        scaled = (logits - logits.max()) / config.temperature
    # A number that leaves no token out draws the same as none, so the order is the same.
    chosen = 0 < config.top_k < len(scaled)
    ids = most_likely(scaled, config.top_k) if chosen else np.arange(len(scaled))
    weights = np.exp(scaled[ids])
    weights /= weights.sum()
    if config.top_p < 1:
        # A few hundred tokens reach most p; to sort a whole vocabulary takes longer than a small
        # model decodes.
        sorted_count = 256
        order = most_likely(weights, sorted_count)
        while sorted_count < len(weights) and weights[order].sum() < config.top_p:
            sorted_count *= 8
            order = most_likely(weights, sorted_count)
        # The token that reaches p belongs to the set, so that there is always one; the tolerance is
        # for sums such as 0.5 + 0.3 + 0.1 that fall short of 0.9 by a rounding error.
        reached = int(np.searchsorted(np.cumsum(weights[order]), config.top_p - 1e-12))
        order = order[: reached + 1]
        ids, weights = ids[order], weights[order] / weights[order].sum()
    return ids, weights


def most_likely(values: np.ndarray, count: int) -> np.ndarray:
    """Returns the positions of the `count` largest of `values` (V,), largest first.

    Of equal ones the first comes first.
    """
    if count >= len(values):
        return np.argsort(-values, kind="stable")
    reaching = np.flatnonzero(values >= np.partition(values, -count)[-count])
    return reaching[np.argsort(-values[reaching], kind="stable")[:count]]


def next_token(
    logits: np.ndarray, config: SamplingConfig, seen_ids: Collection[int], rng: np.random.Generator
) -> int:
    """Draws the next token's id.

    Args:
        logits: (V,) of the next token.
        config: temperature, top-k, top-p and repetition penalty.
        seen_ids: ids of the prompt and of what was drawn so far, for the repetition penalty.
        rng: source of the draw; not touched at temperature 0.

    Raises:
        TfscaleError: a logit is not a number: the weights are damaged.

    Example:
        rng = np.random.default_rng(0)
        next_token(np.array([0.1, 2.0, -1.0]), SamplingConfig(), seen_ids=[], rng=rng)  # 1
    """
    logits = np.asarray(logits, np.float64)
    if np.isnan(logits).any() or not np.isfinite(logits.max()):
        raise TfscaleError(
            "the model's logits are not finite; its weights are damaged or its training diverged"
        )
    if config.repetition_penalty != 1 and len(seen_ids):
        logits = penalize_repetition(logits, seen_ids, config.repetition_penalty)
    if config.temperature == 0:
        return int(logits.argmax())
    ids, weights = candidates(logits, config)
    drawn = int(np.searchsorted(np.cumsum(weights), rng.random(), side="right"))
    return int(ids[min(drawn, len(ids) - 1)])
