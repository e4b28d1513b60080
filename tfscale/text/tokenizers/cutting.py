"""Cuts long texts into parts that are tokenized by themselves."""

import re
from collections.abc import Iterator

LONG_TEXT = 1 << 16
"""Characters after which a long document is cut to be tokenized in parts."""

_WORD_BOUNDARY = re.compile(r"(?<=\S) (?=\S)")


def split_long(text: str, limit: int = LONG_TEXT) -> Iterator[str]:
    """Cuts a long text where no token can lie across the cut.

    The cut is before a single space between two characters that are not white space: there every
    tokenizer that this package trains begins a token, and most others do. So the tokens of the
    first piece, by `encode`, and of the later ones, by `encode_continued`, are those of the whole
    text. Where no such place comes, a piece stays longer than `limit`.

    A tokenizer of another library may have others at a cut where it has a token across it, such as
    `of▁the`, or sums scores over the whole text, which decides between almost equal ways (Unigram).

    Args:
        text: a document.
        limit: characters after which the next such place is cut.

    Example:
        list(split_long("one two three", 4))    # ["one two", " three"]
    """
    start = 0
    while len(text) - start > limit:
        boundary = _WORD_BOUNDARY.search(text, start + limit)
        if boundary is None:
            break
        yield text[start : boundary.start()]
        start = boundary.start()
    yield text[start:]
