"""Texts as a model scores them.

They are cleaned and cut into tokens as data preparation does.
"""

from collections.abc import Sequence

import numpy as np

from tfscale.text.score import ScoredText
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.characters import check_characters
from tfscale.text.tokenizers.cutting import split_long


def document_stream(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, ScoredText]:
    """Returns the tokens of documents, an end token after each.

    Args:
        tokenizer: the model's; each text is cleaned by its cleaner first.
        texts: one or more documents, as they were written.

    Returns:
        ids (N,) int32, and what is known about the cleaned text.

    Raises:
        TokenizerError: a text holds a lone surrogate, which is not a character.

    Example:
        ids, text = document_stream(load_tokenizer("data"), ["To be, or not to be"])
        text.unknown_tokens
    """
    ids: list[list[int]] = []
    parts: list[str] = []
    continued: set[int] = set()
    for text in texts:
        cleaned = tokenizer.cleaner(text)
        check_characters(cleaned)
        # Long documents are cut where those of a data folder are, so that the figures of both are
        # the same.
        first, *later = split_long(cleaned)
        ids += [tokenizer.encode(first), *map(tokenizer.encode_continued, later)]
        ids.append([tokenizer.end_id])
        continued.update(range(len(parts) + 1, len(parts) + 1 + len(later)))
        parts += [first, *later]
    stream = np.concatenate([np.array(part, np.int32) for part in ids])
    return stream, ScoredText(*tokenizer.measured(parts, stream, continued))


def read_stream(
    tokenizer: Tokenizer | None, text: str | Sequence[int], utf8_bytes: int = 0
) -> tuple[list[int], ScoredText]:
    """Returns the tokens of one document, or ids as they are, and what is known about the text.

    Args:
        tokenizer: the model's; None takes ids alone.
        text: a document, or ids.
        utf8_bytes: bytes that ids stand for, where they are known.
    """
    if isinstance(text, str):
        assert tokenizer is not None
        stream, known = document_stream(tokenizer, [text])
        return stream.tolist(), known
    ids = [int(token) for token in text]
    if tokenizer is None:
        return ids, ScoredText(utf8_bytes, None, 0.0)
    # Whether ids of a tokenizer that loses text stand for all of it, only the text would tell.
    unknown = 0 if tokenizer.unknown_id is None else ids.count(tokenizer.unknown_id)
    return ids, ScoredText(utf8_bytes, unknown, 0.0 if tokenizer.lossless else None)
