"""Cuts long texts into parts that are tokenized by themselves."""

import re
from collections.abc import Iterator

LONG_TEXT = 1 << 16
"""Characters after which a long document is cut to be tokenized in parts."""

_WORD_BOUNDARY = re.compile(r"(?<=\S) (?=\S)")


def split_long(text: str, limit: int = LONG_TEXT) -> Iterator[str]:
    """Cuts a long text where no token can lie across the cut.

    The cut is before a single space between two characters that are not white space: there every
    tokenizer of this package begins a token. So the pieces' tokens joined are the tokens of the
    whole text. Where no such place comes, a piece stays longer than `limit`.

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
