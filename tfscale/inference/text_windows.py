"""Texts in windows that a network reads, and the states of their tokens as a vector for each text.

Without TensorFlow, so that networks and exported files give the same vectors.

Shapes: T tokens, D width of the hidden states, N texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfscale.errors import DataError
from tfscale.text.tokenizers import Tokenizer

Pooling = Literal["mean", "last"]
"""mean: the mean of the states at the tokens of a text; last: the state at its last token."""


@dataclass(frozen=True)
class TextWindow:
    """A part of a text that is read at once.

    Attributes:
        text: number of the text.
        ids: what is read, the tokens that begin and end a text included.
        own: which of them are tokens of the text.
    """

    text: int
    ids: tuple[int, ...]
    own: slice


def windows_of(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    context: int | None,
    pooling: Pooling,
    after: tuple[int, ...] = (),
    note: Callable[[str], None] | None = None,
) -> list[TextWindow]:
    """Returns the windows in which texts are read, in the order of the texts.

    Args:
        tokenizer: the model's, whose cleaner cleans the texts.
        texts: one or more, none of which is empty.
        context: most tokens of a window; None without bound.
        pooling: see `Pooling`; `last` reads only the last tokens that fit.
        after: tokens that are read after a text.
        note: is called with a line that says how many texts are longer than the context.

    Raises:
        DataError: there is no text, or one without a token.
    """
    if not texts:
        raise DataError("there is no text to embed; give one or more")
    before = tokenizer.prompt_start
    room = None if context is None else max(1, context - len(before) - len(after))
    windows = []
    longer = 0
    for number, text in enumerate(texts):
        tokens = tokenizer.encode(tokenizer.cleaner(text))
        if not tokens:
            raise DataError(f"text {number + 1} of {len(texts)} has no token: {text[:40]!r}")
        longer += room is not None and len(tokens) > room
        for part in _parts(tokens, room, pooling):
            own = slice(len(before), len(before) + len(part))
            windows.append(TextWindow(number, (*before, *part, *after), own))
    if longer and note is not None:
        how = "their windows are averaged" if pooling == "mean" else "their last tokens are read"
        note(f"{longer:,} of {len(texts):,} texts are longer than {room:,} tokens; {how}")
    return windows


def _parts(tokens: list[int], room: int | None, pooling: Pooling) -> list[list[int]]:
    if room is None or len(tokens) <= room:
        return [tokens]
    if pooling == "last":
        return [tokens[-room:]]
    return [tokens[start : start + room] for start in range(0, len(tokens), room)]


class Pool:
    """The states of windows, summed up to a vector for each text.

    Args:
        texts: N.
        pooling: see `Pooling`.
    """

    def __init__(self, texts: int, pooling: Pooling):
        self._pooling = pooling
        self._sums: list[np.ndarray | float] = [0.0] * texts
        self._counts = [0] * texts

    def add(self, window: TextWindow, states: np.ndarray) -> None:
        """Adds the states (T, D) of all tokens of a window."""
        own = states[window.own].astype(np.float64)
        own = own if self._pooling == "mean" else own[-1:]
        self._sums[window.text] = self._sums[window.text] + own.sum(axis=0)
        self._counts[window.text] += len(own)

    def vectors(self) -> np.ndarray:
        """Returns float32 (N, D)."""
        means = [total / count for total, count in zip(self._sums, self._counts, strict=True)]
        return np.stack(means).astype(np.float32)
