"""The next words that a keyboard would offer: a beam search that stops where a word ends.

The text's last word, if it is not finished, is taken back, and only tokens that spell it again are
followed. So the suggestions do not depend on how the tokenizer cut the unfinished word.
"""

from dataclasses import dataclass

import numpy as np

from tfscale.device.turns import DeviceDecoder, Turn
from tfscale.errors import ConfigError, PromptError
from tfscale.text.tokenizers import Tokenizer

LONGEST = 24
"""Most tokens of a word."""
BEAMS_PER_WORD = 3


@dataclass(frozen=True)
class Suggestion:
    """A word and how likely the model finds it after the words before it; letters that were typed
    count."""

    word: str
    probability: float


def suggest(
    decoder: DeviceDecoder | Turn, tokenizer: Tokenizer, text: str, count: int = 3
) -> list[Suggestion]:
    """Returns the most likely words at the end of a text.

    Args:
        decoder: reads the text; it is reset.
        tokenizer: the model's tokenizer.
        text: what was typed. If it ends in a letter, its last word is completed, else the next word
            is suggested.
        count: most suggestions.

    Returns:
        Words without the space before them, the most likely first; fewer than `count` where the
        model has no more.

    Raises:
        PromptError: the text and a word do not fit into the context.
        ConfigError: `count` is below 1.

    Example:
        words = suggest(model.decoder(), model.tokenizer, "the quick br")
        words[0].word    # "brown"
    """
    if count < 1:
        raise ConfigError(f"count={count!r} is out of range; expected 1 or more")
    text = tokenizer.cleaner.beginning(text)
    begun = len(text.rstrip()) == len(text) and bool(text)
    start = len(text)
    while begun and start and _is_letter(text[start - 1]):
        start -= 1
    context, typed = text[:start], text[start:]
    # The space before a word is most often part of its first token.
    if context.endswith(" "):
        context, typed = context[:-1], " " + typed
    read = tokenizer.encode(context)
    ids = tokenizer.prompt_ids(read)
    length = decoder.context_length
    left = None if length is None else length - len(ids)
    if left is not None and left < 1:
        raise PromptError(
            f"the text has {len(read)} tokens, and a context of {length} leaves no room for a word"
        )
    # A word tokenizer puts a space before every word but the first of a text.
    pieces = _pieces(tokenizer, tokenizer.vocabulary_size - 1)
    first = pieces if read or typed.startswith(" ") else _pieces(tokenizer, None)
    ends = np.array([not piece or not _goes_on(piece) for piece in pieces])
    decoder.reset()
    logits = decoder.feed(ids)
    origin = decoder.mark()
    required = typed.encode()
    beams: list[tuple[float, list[int], bytes, np.ndarray]] = [(0.0, [], b"", _log_softmax(logits))]
    words: dict[str, float] = {}
    # A word of n tokens is complete in round n + 1.
    for _ in range(LONGEST if left is None else min(LONGEST, left + 1)):
        grown = []
        for score, tokens, spelled, logs in beams:
            if len(spelled) > len(required) or (spelled == required and required.strip()):
                _add_word(words, spelled, score + _log_sum(logs[ends]))
            spellings = pieces if tokens else first
            for token, step in _followers(
                logs, spellings, ends, spelled, required, BEAMS_PER_WORD * count
            ):
                grown.append((score + step, [*tokens, token], spelled + spellings[token]))
        grown.sort(key=lambda beam: -beam[0])
        best = sorted(words.values(), reverse=True)[:count]
        limit = best[-1] if len(best) == count else -np.inf
        beams = []
        for score, tokens, spelled in grown[: BEAMS_PER_WORD * count]:
            if score <= limit or (left is not None and len(tokens) > left):
                continue  # It can only become less likely.
            decoder.back_to(origin)
            beams.append((score, tokens, spelled, _log_softmax(decoder.feed(tokens))))
        if not beams:
            break
    decoder.reset()
    ranked = sorted(words.items(), key=lambda item: -item[1])[:count]
    return [Suggestion(word, float(np.exp(score))) for word, score in ranked]


def _pieces(tokenizer: Tokenizer, previous: int | None) -> list[bytes]:
    """Returns the bytes of each token after another one; none for the end and the unknown token."""
    silent = (tokenizer.end_id, tokenizer.unknown_id)
    return [
        b"" if i in silent else tokenizer.token_bytes(i, previous)
        for i in range(tokenizer.vocabulary_size)
    ]


def _followers(
    logs: np.ndarray,
    pieces: list[bytes],
    ends: np.ndarray,
    spelled: bytes,
    required: bytes,
    count: int,
) -> list[tuple[int, float]]:
    """Returns the likeliest tokens that go on with the word.

    They agree with what was typed, and are letters after that.
    """
    ahead = required[len(spelled) :]
    if ahead:
        fits = [
            bool(p)
            and (ahead.startswith(p) or (p.startswith(ahead) and _goes_on(p[len(ahead) :] or b"a")))
            for p in pieces
        ]
        allowed = np.array(fits)
    elif spelled.strip():
        allowed = ~ends
    else:
        # The first token of a word brings the space before it, unless one was typed.
        allowed = np.array(
            [bool(p) and p.strip() != b"" and _goes_on(p.removeprefix(b" ")) for p in pieces]
        )
    scores = np.where(allowed, logs, -np.inf)
    order = np.argsort(-scores, kind="stable")[:count]
    return [(int(token), float(scores[token])) for token in order if np.isfinite(scores[token])]


def _add_word(words: dict[str, float], spelled: bytes, score: float) -> None:
    try:
        word = spelled.decode().strip()
    except UnicodeDecodeError:
        return
    if word:
        words[word] = float(np.logaddexp(words.get(word, -np.inf), score))


def _is_letter(character: str) -> bool:
    return character.isalnum() or character in "_'’"


def _goes_on(piece: bytes) -> bool:
    """Returns whether a token's bytes go on with a word: letters, digits, parts of characters."""
    return all(byte >= 0x80 or _is_letter(chr(byte)) for byte in piece)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.asarray(logits, np.float64) - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def _log_sum(logs: np.ndarray) -> float:
    return float(np.logaddexp.reduce(logs)) if len(logs) else -np.inf
