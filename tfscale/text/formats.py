"""Recognizes files that are no plain text, and says how to make such text of them."""

import codecs
import json
from dataclasses import dataclass

from tfscale.text.archive import archive_kind
from tfscale.text.archives.zip import ADVICE, is_office_document
from tfscale.text.compression import plain_name
from tfscale.text.decoding import encoding_of, encoding_with_zeros, marked_encoding

HEAD = 1 << 16
"""Bytes of a file's beginning that tell its format."""
_OTHERS = (
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it by 7z x first"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it by unrar x first"),
    (b"\x04\x22\x4d\x18", "an lz4 file", "unpack it by lz4 -d first"),
    (b"\x1f\x9d", "a file of compress", "unpack it by uncompress first"),
    (b"%PDF-", "a PDF file", "make text of it by pdftotext"),
    (b"SQLite format 3\x00", "an SQLite database", "write its texts into a .jsonl file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "write its texts into a .jsonl file"),
)


@dataclass(frozen=True)
class Refusal:
    """Why a file is not read as text.

    Attributes:
        message: what the file is, and what to do.
        decodable: whether it is text of its encoding nevertheless.
    """

    message: str
    decodable: bool = False


def refusal(
    name: str, head: bytes, encoding: str = "utf-8", forced: bool = False
) -> Refusal | None:
    """Recognizes files that are not plain text.

    Args:
        name: path of the file.
        head: its first `HEAD` bytes, or all where it has fewer; unpacked.
        encoding: that it is read by.
        forced: whether it was asked for to read it to the letter.

    Returns:
        Why it is not to be read as text; None for plain text, and for what is not known.

    Example:
        refusal("a.7z", b"7z\\xbc\\xaf\\x27\\x1c...").message
        # "a.7z is a 7-Zip archive; unpack it by 7z x first"
    """
    if is_office_document(head):
        return Refusal(f"{name} is an office document or an e-book (.docx, .odt, .epub); {ADVICE}")
    if kind := archive_kind(head[:512]):
        return Refusal(f"{name} is a {kind.what} archive; {_of_archive(name)}")
    for magic, what, advice in _OTHERS:
        if head.startswith(magic):
            return Refusal(f"{name} is {what}; {advice}")
    by_zeros = "" if marked_encoding(head) else encoding_with_zeros(head)
    if by_zeros and not codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return Refusal(
            f"{name} looks like {by_zeros} without a byte order mark (every other byte is 0), and"
            f" is read as {encoding}; give --encoding {by_zeros}"
        )
    if forced:
        return None
    if looks_like_json_lines(name, head, encoding):
        return Refusal(
            f"{name} looks like JSON lines (every line is a JSON object): --format jsonl reads the"
            " field that --text-field names, --format text reads it to the letter",
            decodable=True,
        )
    if looks_like_json_array(name, head, encoding):
        return Refusal(
            f"{name} is one JSON array: write an object a line (jq -c '.[]' in.json > out.jsonl),"
            " or read it to the letter by --format text",
            decodable=True,
        )
    return None


def _of_archive(name: str) -> str:
    if plain_name(name).endswith((".zip", ".tar")):
        return "an archive within an archive is not read, unpack the outer one"
    return "name it .zip or .tar, or unpack it"


def looks_like_json_lines(name: str, head: bytes, encoding: str = "utf-8") -> bool:
    """Returns whether every line is a JSON object; of two or more, but for a .json file.

    Args:
        name: path of the file.
        head: its first `HEAD` bytes, or all where it has fewer; unpacked.
        encoding: that it is read by.
    """
    text = _text(name, head, encoding)
    if not text.startswith("{"):
        return False
    lines = text.splitlines(keepends=True)
    is_json = plain_name(name).endswith(".json")
    if len(head) >= HEAD:
        if len(lines) == 1:
            return is_json  # A first line of many bytes: not the JSON that people write by hand.
        lines = lines[:-1]  # It may be cut off.
    filled = [line for line in lines if line.strip()]
    return len(filled) >= (1 if is_json else 2) and all(map(_is_object, filled))


def looks_like_json_array(name: str, head: bytes, encoding: str = "utf-8") -> bool:
    """Returns whether a .json file begins an array of objects."""
    text = _text(name, head, encoding) if plain_name(name).endswith(".json") else ""
    return text.startswith("[") and text[1:].lstrip().startswith("{")


def _text(name: str, head: bytes, encoding: str) -> str:
    found = encoding_of(name, head, encoding)
    return head.decode(found, "ignore").removeprefix("\ufeff").lstrip()


def _is_object(line: str) -> bool:
    if not line.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
