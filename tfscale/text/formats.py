"""Recognizes files that are no plain text, and says how to make such text of them."""

import codecs
import io
import json
import re
from dataclasses import dataclass

from tfscale.text.archive import archive_kind
from tfscale.text.archives.zip import ADVICE, is_office_document
from tfscale.text.compression import compression_of, plain_name
from tfscale.text.decoding import encoding_of, encoding_without_mark, marked_encoding

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
    (b"Obj\x01", "an Avro file", "write its texts into a .jsonl file"),
    (b"\x93NUMPY", "a NumPy file", "write its texts into a .jsonl file"),
    (b"\x5d\x00\x00", "an lzma file", "unpack it by unlzma first"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document (.doc, .xls)", ADVICE),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", "leave it out"),
    (b"\xff\xd8\xff", "a JPEG image", "leave it out"),
    (b"GIF8", "a GIF image", "leave it out"),
    (b"\x7fELF", "a program", "leave it out"),
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
    name: str,
    head: bytes,
    encoding: str = "utf-8",
    forced: bool = False,
    text_field: str = "text",
) -> Refusal | None:
    """Recognizes files that are not plain text.

    Args:
        name: path of the file.
        head: its first `HEAD` bytes, or all where it has fewer; unpacked.
        encoding: that it is read by.
        forced: whether it was asked for to read it to the letter.
        text_field: the field of records that holds their text.

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
    if compression := compression_of(head):
        return Refusal(
            f"{name} is packed more than once: there is a {compression.what} file within; unpack"
            " the outer one"
        )
    if head and not head.strip(b"\0"):
        return Refusal(
            f"{name} begins with {len(head):,} zero bytes: an empty tar archive, or a file that was"
            " never written to its end"
        )
    found = "" if marked_encoding(head) else encoding_without_mark(head)
    if found and not codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return Refusal(
            f"{name} looks like {found} without a byte order mark (every other byte is 0, or of"
            f" another control character), and is read as {encoding}; give --encoding {found}"
        )
    if forced:
        return None
    if looks_like_json_lines(name, head, encoding, text_field):
        return Refusal(
            f"{name} looks like JSON lines (every line is a JSON object): --format jsonl reads the"
            " field that --text-field names, --format text reads it to the letter",
            decodable=True,
        )
    if looks_like_json_array(name, head, encoding, text_field):
        return Refusal(
            f"{name} is one JSON array: write an object a line (jq -c '.[]' in.json > out.jsonl;"
            " of strings jq -c '.[] | {text: .}'), or read it to the letter by --format text",
            decodable=True,
        )
    if looks_like_json_record(name, head, encoding, text_field):
        return Refusal(
            f"{name} is JSON with a field {text_field!r}, and not an object a line: make it so"
            " (jq -c . in.json > out.jsonl), or read it to the letter by --format text",
            decodable=True,
        )
    return None


def _of_archive(name: str) -> str:
    if plain_name(name).endswith((".zip", ".tar")):
        return "an archive within an archive is not read, unpack the outer one"
    return "name it .zip or .tar, or unpack it"


def looks_like_json_lines(
    name: str, head: bytes, encoding: str = "utf-8", text_field: str = "text"
) -> bool:
    """Returns whether every line is a JSON object.

    A single one counts in a .json file, or if it has the text field.

    Args:
        name: path of the file.
        head: its first `HEAD` bytes, or all where it has fewer; unpacked.
        encoding: that it is read by.
        text_field: the field of records that holds their text.
    """
    text = _text(name, head, encoding)
    if not text.startswith("{"):
        return False
    # Other characters that end a line for Python, such as U+2028, may stand in a text of JSON.
    lines = list(io.StringIO(text, newline=""))
    one_will_do = plain_name(name).endswith(".json") or _has_field(text, text_field)
    if len(head) >= HEAD:
        if len(lines) == 1:
            return one_will_do  # Many bytes: not the JSON that people write by hand.
        lines = lines[:-1]  # It may be cut off.
    filled = [line for line in lines if line.strip()]
    return len(filled) >= (1 if one_will_do else 2) and all(map(_is_object, filled))


def looks_like_json_array(
    name: str, head: bytes, encoding: str = "utf-8", text_field: str = "text"
) -> bool:
    """Returns whether a file begins an array of objects or, named .json, of strings.

    Where the name does not say that it is JSON, an object has the text field.
    """
    text = _text(name, head, encoding) if _may_be_json(name) else ""
    if plain_name(name).endswith(".json"):
        return re.match(r'\[\s*[{"]', text) is not None
    return re.match(r'\[\s*\{\s*"', text) is not None and _has_field(text, text_field)


def looks_like_json_record(name: str, head: bytes, encoding: str, text_field: str) -> bool:
    """Returns whether a file begins with an object that has the text field.

    So do records over several lines, several in a line, and those with commas between them. Other
    JSON, such as settings beside a program, is text like any other.
    """
    text = _text(name, head, encoding) if _may_be_json(name) else ""
    return text.startswith("{") and _has_field(text, text_field)


def _may_be_json(name: str) -> bool:
    """Returns whether a name says that a file is JSON, or nothing but that it is text."""
    plain = plain_name(name)
    return plain.endswith((".json", ".txt")) or "." not in plain.rpartition("/")[2]


def _has_field(text: str, name: str) -> bool:
    field = re.escape(json.dumps(name.rpartition(".")[2], ensure_ascii=False))
    return re.search(rf'{field}\s*:\s*"', text) is not None


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
