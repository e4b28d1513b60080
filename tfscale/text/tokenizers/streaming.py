"""Decodes tokens one by one."""

import codecs
from collections.abc import Mapping
from typing import Protocol


class Spelling(Protocol):
    """The part of a `Tokenizer` that decoding needs."""

    @property
    def special_tokens(self) -> Mapping[str, int]: ...

    @property
    def trims_start(self) -> bool: ...

    def check_id(self, id: int) -> None: ...

    def token_bytes(self, id: int, previous: int | None) -> bytes: ...


class StreamDecoder:
    """Decodes tokens one by one and holds back the bytes of a character that is not yet whole.

    The pieces joined are exactly what `Tokenizer.decode` gives, after a token `previous` if there
    is one.

    Args:
        tokenizer: the tokenizer that made the tokens.
        previous: the token before the first; None at the beginning of a text.

    Example:
        decoder = StreamDecoder(tokenizer)
        for id in ids:
            print(decoder.push(id), end="", flush=True)
        print(decoder.flush())
    """

    def __init__(self, tokenizer: Spelling, previous: int | None = None):
        self._tokenizer = tokenizer
        self._previous = previous
        self._silent = set(tokenizer.special_tokens.values())
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """Returns the text that `id` completes, often none."""
        id = int(id)
        self._tokenizer.check_id(id)
        if id in self._silent:
            return ""
        new_bytes = self._tokenizer.token_bytes(id, self._previous)
        if new_bytes or not self._tokenizer.trims_start:
            self._previous = id
        return self._utf8.decode(new_bytes)

    def flush(self) -> str:
        """Returns U+FFFD for bytes that are still held back, and begins anew."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        self._previous = None
        return text
