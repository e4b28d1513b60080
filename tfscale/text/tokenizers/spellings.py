"""The bytes that each token of a `tokenizer.json` adds to a text, by its decoder.

Hugging Face's library decodes a whole text at once. A completion comes token by token, so that the
same rules are followed here for one token after another.
"""

import re
from dataclasses import dataclass
from typing import Protocol

from tfscale.errors import TokenizerError
from tfscale.files.json_text import JsonObject
from tfscale.text.tokenizers.hugging_face import byte_characters

SPACE_MARK = "\u2581"
"""How SentencePiece writes a space in its pieces."""
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""How it writes a byte."""
# What the library's `cleanup` of WordPiece writes, in its order.
_CLEANED = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


class PieceSpelling(Protocol):
    """Spells tokens.

    Attributes:
        adds_spaces: whether it writes spaces that no token holds.
    """

    adds_spaces: bool

    def __call__(self, piece: str, first: bool) -> bytes:
        """Returns the bytes of a token, the first of a text or a later one."""


class ByteSpelling:
    """Each character of a token is a byte, as GPT-2 writes them; other tokens are plain text."""

    adds_spaces = False

    def __init__(self) -> None:
        self._bytes = {character: byte for byte, character in byte_characters()}
        self.characters = frozenset(self._bytes)

    def __call__(self, piece: str, first: bool) -> bytes:
        if all(character in self._bytes for character in piece):
            return bytes(self._bytes[character] for character in piece)
        return piece.encode()


@dataclass(frozen=True)
class MarkSpelling:
    """U+2581 stands for a space, and `<0x0A>` for a byte, as SentencePiece has them.

    Attributes:
        byte_pieces: whether there are tokens of bytes.
        stripped: how many spaces are taken off the beginning of a text; None for all of those of
            the first token.
    """

    byte_pieces: bool
    stripped: int | None

    adds_spaces = False

    def __call__(self, piece: str, first: bool) -> bytes:
        match = BYTE_PIECE.fullmatch(piece) if self.byte_pieces else None
        if match:
            text = bytes((int(match[1], 16),))
        elif first and self.stripped is None:
            return piece.replace(SPACE_MARK, "").encode()
        else:
            text = piece.replace(SPACE_MARK, " ").encode()
        return text.removeprefix(b" " * self.stripped) if first and self.stripped else text


@dataclass(frozen=True)
class WordSpelling:
    """A token begins a word, with a space before it, or continues one after a prefix."""

    prefix: str
    cleanup: bool

    adds_spaces = True

    def __call__(self, piece: str, first: bool) -> bytes:
        if not first:
            continues = piece.startswith(self.prefix)
            piece = piece[len(self.prefix) :] if continues else f" {piece}"
        if self.cleanup:
            for written, meant in _CLEANED:
                piece = piece.replace(written, meant)
        return piece.encode()


def spelling_of(decoder: JsonObject | None) -> PieceSpelling:
    """Returns what spells tokens as a decoder of `tokenizer.json` does.

    Raises:
        TokenizerError: the file has no decoder, or one that is not known here.

    Example:
        spelling_of({"type": "ByteLevel"})("Ġthe", first=True)    # b" the"
    """
    parts = _flat(decoder)
    types = [str(part.get("type")) for part in parts]
    if types == ["ByteLevel"]:
        return ByteSpelling()
    if types == ["WordPiece"]:
        return WordSpelling(str(parts[0].get("prefix", "##")), bool(parts[0].get("cleanup", True)))
    marks = [part for part in parts if part.get("type") not in ("ByteFallback", "Fuse")]
    byte_pieces = "ByteFallback" in types
    if [part.get("type") for part in marks] == ["Metaspace"]:
        plain = marks[0].get("replacement") == SPACE_MARK
        if plain:
            always = marks[0].get("prepend_scheme", "always") != "never"
            return MarkSpelling(byte_pieces, None if always else 0)
    if marks and _replaces_marks(marks[0]):
        strips = marks[1:]
        if not strips:
            return MarkSpelling(byte_pieces, 0)
        if len(strips) == 1 and "Fuse" in types and _strips_spaces(strips[0]):
            return MarkSpelling(byte_pieces, int(strips[0]["start"]))
    shown = " + ".join(types) or "none"
    raise TokenizerError(
        f"tokenizer.json has the decoder {shown}; those of byte-level BPE (ByteLevel),"
        " SentencePiece (Metaspace, or Replace with ByteFallback, Fuse and Strip) and WordPiece are"
        " followed"
    )


def _flat(decoder: JsonObject | None) -> list[JsonObject]:
    if decoder is None:
        return []
    if decoder.get("type") == "Sequence":
        return [part for inner in decoder.get("decoders", []) for part in _flat(inner)]
    return [decoder]


def _replaces_marks(part: JsonObject) -> bool:
    return (
        part.get("type") == "Replace"
        and part.get("pattern") == {"String": SPACE_MARK}
        and part.get("content") == " "
    )


def _strips_spaces(part: JsonObject) -> bool:
    return part.get("type") == "Strip" and part.get("content") == " " and part.get("stop") == 0
