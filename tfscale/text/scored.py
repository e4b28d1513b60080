"""Texts as a model scores them.

They are cleaned and cut into tokens as data preparation does.
"""

from collections.abc import Sequence

import numpy as np

from tfscale.text.score import ScoredText
from tfscale.text.tokenizers.base import Tokenizer
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
    # Long documents are cut where those of a data folder are, so that the figures of both are the
    # same.
    documents = [list(split_long(tokenizer.cleaner(text))) for text in texts]
    end = [tokenizer.end_id]
    parts = [ids for document in documents for ids in [*map(tokenizer.encode, document), end]]
    stream = np.concatenate([np.array(ids, np.int32) for ids in parts])
    return stream, ScoredText(
        *tokenizer.measured([part for document in documents for part in document], stream)
    )


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
