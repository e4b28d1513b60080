"""Fills gaps in texts and corrects words by a cloze model; NumPy only.

Shapes: T tokens of a window, V vocabulary.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.config import EDIT_COST
from tfscale.errors import ConfigError, PromptError
from tfscale.inference.sampling import most_likely
from tfscale.text.score import token_nll
from tfscale.text.tokenizers import Tokenizer

GAP = "___"
"""The mark of the gap in a text."""
_WORD = re.compile(r"[^\W\d_]+")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

Logits = Callable[[np.ndarray], np.ndarray]
"""Ids (T,) int32 -> logits (T, V): those at t are for id t + 1, and do not depend on that id."""


@dataclass(frozen=True)
class Filling:
    """A token for the gap, as text, and its probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class Correction:
    """A word at `start` of the text, its replacement, and the gain in nats."""

    start: int
    word: str
    replacement: str
    gain: float


def fill(
    logits: Logits, tokenizer: Tokenizer, text: str, sequence_length: int, count: int = 5
) -> list[Filling]:
    """Returns the most likely tokens for the gap in a text.

    Args:
        logits: the model.
        tokenizer: its tokenizer. The gap takes one token: a word, or with pieces of words what is a
            piece.
        text: holds `___` once.
        sequence_length: T, the most tokens that the model reads.
        count: how many to give.

    Raises:
        PromptError: no gap or several, or a text that is too long.

    Example:
        fill(model.logits, model.tokenizer, "the cat___ on the mat", 128)[0].text   # " sat"
    """
    text = tokenizer.cleaner(text)
    if text.count(GAP) != 1:
        raise PromptError(f"the text has {text.count(GAP)} gaps; give one, as {GAP}")
    if count < 1:
        raise ConfigError(f"count={count} is out of range; expected 1 or more")
    before, after = text.split(GAP)
    left = [tokenizer.end_id, *tokenizer.encode(before)]
    ids = [*left, tokenizer.end_id, *tokenizer.encode_continued(after)]
    window = _window(ids, sequence_length, tokenizer.end_id)
    row = np.asarray(logits(window), np.float64)[len(left) - 1]
    probabilities = np.exp(row - row.max())
    probabilities /= probabilities.sum()
    fillings = []
    for token in most_likely(probabilities, count + 2):
        if token not in (tokenizer.end_id, tokenizer.unknown_id):
            spelled = tokenizer.token_bytes(int(token), left[-1] if len(left) > 1 else None)
            text = spelled.decode("utf-8", "replace")
            fillings.append(Filling(text, float(probabilities[token])))
    return fillings[:count]


def correct(
    logits: Logits,
    tokenizer: Tokenizer,
    text: str,
    sequence_length: int,
    edit_cost: float = EDIT_COST,
) -> list[Correction]:
    """Returns words that are probably misspelt: one letter changed makes the text much likelier.

    A letter may be wrong, missing, too much, or have changed places with the next one (Kernighan et
    al. 1990). Words to put in their place are those that the tokenizer has as one token.

    Args:
        logits: the model.
        tokenizer: its tokenizer.
        text: a sentence or two; words are corrected one after the other, each in the text as it is
            then.
        sequence_length: T, the most tokens that the model reads.
        edit_cost: nats by which the text must become more likely.

    Returns:
        The corrections, in the order of the text.

    Raises:
        PromptError: a text that is too long.

    Example:
        correct(model.logits, model.tokenizer, "the cat sat no the mat", 128)
    """
    lexicon = words_of(tokenizer)
    corrections: list[Correction] = []
    shift = 0
    for match in _WORD.finditer(text):
        start = match.start() + shift
        near = _one_edit_away(tokenizer.cleaner(match[0]))
        candidates = [word for word in near if word in lexicon]
        if not candidates:
            continue
        before, after = text[:start], text[start + len(match[0]) :]
        base = _log_likelihood(logits, tokenizer, text, sequence_length)
        edited = [before + word + after for word in candidates]
        gains = [_log_likelihood(logits, tokenizer, t, sequence_length) - base for t in edited]
        best = int(np.argmax(gains))
        if gains[best] > edit_cost:
            gain = gains[best] - edit_cost
            corrections.append(Correction(match.start(), match[0], candidates[best], gain))
            text = before + candidates[best] + after
            shift += len(candidates[best]) - len(match[0])
    return corrections


def words_of(tokenizer: Tokenizer) -> set[str]:
    """Returns the words that a tokenizer has as one token, without the space before them."""
    words = set()
    for token in range(tokenizer.vocabulary_size):
        if token not in (tokenizer.end_id, tokenizer.unknown_id):
            text = tokenizer.token_bytes(token, None).decode("utf-8", "replace").strip()
            if _WORD.fullmatch(text):
                words.add(text)
    return words


def _log_likelihood(logits: Logits, tokenizer: Tokenizer, text: str, sequence_length: int) -> float:
    """Returns the sum of the tokens' log-probabilities given all others, in nats."""
    ids = [tokenizer.end_id, *tokenizer.encode(tokenizer.cleaner(text)), tokenizer.end_id]
    rows = np.asarray(logits(_window(ids, sequence_length, tokenizer.end_id)))[: len(ids) - 1]
    return -float(token_nll(rows, np.array(ids[1:])).sum())


def _window(ids: Sequence[int], sequence_length: int, end_id: int) -> np.ndarray:
    """Returns the ids and end tokens up to the window's length, the same for every runtime."""
    if len(ids) > sequence_length:
        raise PromptError(
            f"the text has {len(ids)} tokens; the model reads at most {sequence_length}"
        )
    return np.array([*ids, *[end_id] * (sequence_length - len(ids))], np.int32)


def _one_edit_away(word: str) -> Iterator[str]:
    splits = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    seen = {word}
    for a, b in splits:
        edits = [a + letter + b for letter in _LETTERS]
        if b:
            edits += [a + b[1:], *(a + letter + b[1:] for letter in _LETTERS)]
        if len(b) > 1:
            edits.append(a + b[1] + b[0] + b[2:])
        for edit in edits:
            if edit and edit not in seen:
                seen.add(edit)
                yield edit
