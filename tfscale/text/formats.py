"""Recognizes files that are not plain UTF-8 text, and says how to make such text of them."""

import codecs
import csv
import io
import json
import shlex
from dataclasses import dataclass

from tfscale.errors import DataError
from tfscale.text.reader import HEAD

_PACKED = (
    (b"\x28\xb5\x2f\xfd", "a zstd file", "zstd -d"),
    (b"BZh", "a bzip2 file", "bunzip2"),
    (b"\xfd7zXZ\x00", "an xz file", "unxz"),
    (b"PK\x03\x04", "a zip archive (as .docx, .odt and .epub are, too)", "unzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "7z x"),
)
_OTHERS = (
    (b"PAR1", "a parquet file", "write its column of texts into a .txt file"),
    (b"ARROW1", "an Arrow file", "write its column of texts into a .txt file"),
    (b"%PDF-", "a PDF file", "make text of it by pdftotext"),
)
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}


@dataclass(frozen=True)
class Refusal:
    """Why a file is not read as text.

    Attributes:
        message: what the file is, and what to do.
        utf8: whether it is UTF-8 nevertheless.
    """

    message: str
    utf8: bool = False


def refusal(name: str, head: bytes) -> Refusal | None:
    """Recognizes files that are not plain text.

    Args:
        name: path of the file.
        head: its first `HEAD` bytes, or all where it has fewer; without gzip.

    Returns:
        Why it is not to be read as text; None for plain text, and for what is not known.

    Example:
        refusal("a.zst", b"\\x28\\xb5\\x2f\\xfd...").message
        # "a.zst is a zstd file; unpack it by zstd -d first"
    """
    for magic, what, command in _PACKED:
        if head.startswith(magic):
            return Refusal(f"{name} is {what}; unpack it by {command} first")
    for magic, what, advice in _OTHERS:
        if head.startswith(magic):
            return Refusal(f"{name} is {what}; {advice}")
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return Refusal(
                f"{name} is {encoding}, and text is read as UTF-8; {iconv(name, encoding)}"
            )
    if encoding := _encoding_with_zeros(head):
        return Refusal(
            f"{name} looks like {encoding} without a byte order mark (every other byte is 0), and"
            f" text is read as UTF-8; {iconv(name, encoding)}"
        )
    if what := _records(name, head):
        return Refusal(
            f"{name} looks like {what}, and text is read to the letter, with its brackets and"
            " commas; write its texts into a .txt file",
            utf8=True,
        )
    return None


def iconv(name: str, encoding: str) -> str:
    """Returns the advice how to convert a file to UTF-8."""
    return f"convert it: iconv -f {encoding} -t UTF-8 {shlex.quote(name)} > NEW.txt"


def not_utf8(path: str, error: UnicodeDecodeError, offset: int) -> DataError:
    """Returns the error of a file with a byte that is not UTF-8.

    Args:
        path: the file.
        error: what decoding a part of it raised.
        offset: bytes before that part.
    """
    return DataError(
        f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset"
        f" {offset + error.start}; {iconv(path, 'LATIN1')} (or from GB18030, SHIFT_JIS, ...), or"
        " choose --invalid-utf8 replace or skip"
    )


def _encoding_with_zeros(head: bytes) -> str:
    """Returns the encoding of mostly Latin text that has a zero in each character; "" if none."""
    head = head[: len(head) // 4 * 4]
    zeros = [sum(not byte for byte in head[at::4]) / max(len(head) // 4, 1) for at in range(4)]
    often = tuple(share > 0.7 for share in zeros)
    seldom = tuple(share < 0.1 for share in zeros)
    for encoding, pattern in (
        ("UTF-16LE", (False, True, False, True)),
        ("UTF-16BE", (True, False, True, False)),
        ("UTF-32LE", (False, True, True, True)),
        ("UTF-32BE", (True, True, True, False)),
    ):
        if all(often[at] if zero else seldom[at] for at, zero in enumerate(pattern)):
            return encoding
    return ""


def _records(name: str, head: bytes) -> str:
    """Returns "JSONL", "CSV" or "TSV" and the sign of it; "" for other text."""
    text = head.decode("utf-8-sig", "ignore")
    lines = text.splitlines(keepends=True)
    if len(head) == HEAD and len(lines) > 1:
        lines = lines[:-1]  # It may be cut off.
    plain = name.lower().removesuffix(".gz")
    named = plain.endswith((".jsonl", ".ndjson"))
    filled = [line for line in lines if line.strip()]
    if len(filled) >= (1 if named else 2) and all(map(_is_object, filled)):
        return "JSONL (every line is a JSON object)"
    for extension, delimiters in _DELIMITERS.items():
        if plain.endswith(extension):
            columns = max(_columns(lines, delimiter) for delimiter in delimiters)
            return (
                f"{extension[1:].upper()} (every row has {columns} columns)" if columns > 1 else ""
            )
    return ""


def _is_object(line: str) -> bool:
    if not line.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _columns(lines: list[str], delimiter: str) -> int:
    """Returns how many columns every row has; 0 where they differ."""
    try:
        counts = {
            len(row) for row in csv.reader(io.StringIO("".join(lines)), delimiter=delimiter) if row
        }
    except csv.Error:
        return 0
    return counts.pop() if len(counts) == 1 else 0
