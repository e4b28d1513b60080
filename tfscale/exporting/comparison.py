"""The checks that all forms of file share: logits and a greedy completion beside the network's.

Shapes: N tokens of a part, V vocabulary.
"""

from typing import NamedTuple

import numpy as np

from tfscale.exporting.limits import Limits, agreeing
from tfscale.exporting.report import Checks
from tfscale.exporting.windows import Windows
from tfscale.inference.generation import Decoder
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models.logits import difference
from tfscale.text.score import Score, token_nll

GREEDY_TOKENS = 32
"""Tokens of the greedy completion, fewer where the context is shorter."""
_PROMPT_TOKENS = 16


class LogitGaps:
    """The differences of a file's logits from those of its network, over all tokens of the windows.

    Args:
        windows: held-out tokens with the network's logits.
        limits: how far they may differ.
        by: what computed the file, in brackets in the names of the checks; empty for none.

    Its `tokens` are those that were added so far.

    Example:
        gaps = LogitGaps(windows, limits, "keras-hub")
        for ids, targets, expected in windows.whole():
            gaps.add(logits_of(ids), expected, targets)
        perplexity = gaps.finish(checks)
    """

    def __init__(self, windows: Windows, limits: Limits, by: str = ""):
        self._spread, self._limits = windows.spread, limits
        self.tokens = 0
        self._by = f" ({by})" if by else ""
        self._largest: list[np.ndarray] = []
        self._total, self._squares, self._same, self._nll = 0.0, 0.0, 0, 0.0

    def add(self, logits: np.ndarray, expected: np.ndarray, targets: np.ndarray) -> None:
        """Adds some tokens: logits of the file (N, V) and of the network (N, V), targets (N,)."""
        self.tokens += len(targets)
        gap = np.abs(difference(logits, expected))
        self._largest.append(gap.max())
        self._total += float(gap.mean(axis=-1).sum())
        self._squares += float(np.square(gap).mean(axis=-1).sum())
        self._same += agreeing(logits, expected, self._limits.greedy_gap * self._spread)
        self._nll += float(token_nll(logits, targets).sum())

    def finish(self, checks: Checks) -> float:
        """Adds the checks of all tokens; returns the file's perplexity."""
        limits, by = self._limits, self._by
        relative = float(np.sqrt(self._squares / self.tokens)) / self._spread
        most = largest_allowed(limits, self._spread)
        # NaN stays NaN here, and is within no limit.
        checks.add(f"max_logit_difference{by}", float(np.max(self._largest)), "<=", most)
        checks.add(f"mean_logit_difference{by}", self._total / self.tokens, "<=", None)
        checks.add(f"relative_logit_error{by}", relative, "<=", limits.relative_logit_error)
        checks.add(f"top1_agreement{by}", self._same / self.tokens, ">=", limits.top1_agreement)
        return Score(self._nll, self.tokens).perplexity


def largest_allowed(limits: Limits, spread: float) -> float | None:
    """Returns the most that a single logit may differ by; None for any."""
    most = limits.max_logit_difference
    return None if most is None else most * max(1.0, spread)


class Completion(NamedTuple):
    """A greedy completion by the network: the prompt, the tokens, and the logits of each choice."""

    prompt: list[int]
    tokens: list[int]
    logits: list[np.ndarray]


def completed(windows: Windows) -> Completion:
    """Completes the first window's beginning by the network."""
    ids = windows.inputs[0].tolist()
    context = windows.reference.config.sequence_length
    prompt = ids[: max(1, min(_PROMPT_TOKENS, len(ids), context // 2))]
    count = max(1, min(GREEDY_TOKENS, context - len(prompt)))
    decoder = KerasDecoder(windows.reference, prefill_lengths=[])
    return Completion(prompt, *greedy(decoder, prompt, count))


def greedy(decoder: Decoder, prompt: list[int], count: int) -> tuple[list[int], list[np.ndarray]]:
    """Returns the likeliest tokens after a prompt, and the logits of each choice."""
    decoder.reset()
    logits = [decoder.feed(prompt)]
    tokens = [int(logits[0].argmax())]
    while len(tokens) < count:
        logits.append(decoder.feed([tokens[-1]]))
        tokens.append(int(logits[-1].argmax()))
    return tokens, logits


def compare_completion(
    checks: Checks,
    expected: Completion,
    received: list[int],
    spread: float,
    limits: Limits,
    by: str,
) -> None:
    """Compares a completion that the file wrote by itself, up to the first token that differs.

    Args:
        checks: receives the number of equal tokens, and by how much the network finds its own token
            likelier than the file's.
        expected: the network's completion.
        received: the file's.
        spread: of the network's logits.
        limits: how far the two tokens' logits may be apart.
        by: what computed the file.
    """
    count = len(expected.tokens)
    equal = next((i for i in range(count) if expected.tokens[i] != received[i]), count)
    gap = 0.0
    if equal < count:
        logits = expected.logits[equal]
        gap = float(logits[expected.tokens[equal]] - logits[received[equal]])
    _add_greedy(checks, equal, gap / spread, limits, f" ({by})")


def compare_choices(
    checks: Checks,
    expected: Completion,
    logits: np.ndarray,
    spread: float,
    limits: Limits,
    by: str = "",
) -> list[int]:
    """Compares what the file would choose at each token of the network's completion.

    Args:
        checks: as for `compare_completion`; the gap is the largest of all tokens.
        expected: the network's completion.
        logits: of the file for each of its tokens (N, V).
        spread: of the network's logits.
        limits: how far the two tokens' logits may be apart.
        by: what computed the file; empty for none.

    Returns:
        The choices.
    """
    chosen: list[int] = logits.argmax(-1).tolist()
    gaps = [own.max() - own[token] for own, token in zip(expected.logits, chosen, strict=True)]
    equal = sum(own == other for own, other in zip(expected.tokens, chosen, strict=True))
    _add_greedy(checks, equal, float(max(gaps)) / spread, limits, f" ({by})" if by else "")
    return chosen


def _add_greedy(checks: Checks, equal: int, gap: float, limits: Limits, by: str) -> None:
    checks.add(f"greedy_tokens_equal{by}", equal, "==", None)
    checks.add(f"greedy_gap{by}", gap, "<=", limits.greedy_gap)
