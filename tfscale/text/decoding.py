"""Bytes to text, as a stream, in any encoding that Python knows."""

import codecs
import dataclasses
import io
import shlex
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, cast

from tfscale.errors import DataError
from tfscale.terminal import note

if TYPE_CHECKING:
    from tfscale.text.reader import Reading, TextFile

MARK = "\ufeff"
"""A byte order mark, which says how a file is encoded and is not part of its text."""
_BLOCK = 1 << 18
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WITHOUT_ORDER = ("utf-16", "utf-32")
_BELOW_SPACE = bytes(range(0x20))
_CONTROLS = _BELOW_SPACE.translate(None, b"\t\n\v\f\r\x1b")
"""Characters that text has few of."""


def marked_encoding(head: bytes) -> str:
    """Returns the encoding that a byte order mark says; "" without one."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "")


def encoding_without_mark(head: bytes) -> str:
    """Returns the encoding of text that has no mark and two or four bytes a character; "" if none.

    Scripts below U+2000 are found, such as Latin, Cyrillic, Arabic, Devanagari and Thai: the upper
    bytes of their characters are below 0x20. So are those of control characters, and such text may
    well be UTF-8 by chance.
    """
    head = head[: len(head) // 4 * 4]
    if not head or 32 * (len(head) - len(head.translate(None, _CONTROLS))) < len(head):
        return ""
    zero = [_share(head[at::4], b"\0") for at in range(4)]
    low = [_share(head[at::2], _BELOW_SPACE) for at in range(2)]
    for order, upper, last in (("le", (3, 2), 0), ("be", (0, 1), 3)):
        if min(zero[at] for at in upper) > 0.9 and zero[last] < 0.1:
            return f"utf-32-{order}"
        if low[upper[0] % 2] > 0.7 > low[last % 2]:
            return f"utf-16-{order}"
    return ""


def _share(content: bytes, few: bytes) -> float:
    """Returns how many of the bytes are among a few."""
    return 1 - len(content.translate(None, few)) / len(content)


def encoding_of(name: str, head: bytes, encoding: str) -> str:
    """Returns the encoding of a file: the one that was asked for, or that its mark says.

    Args:
        name: the file's, for messages.
        head: its first bytes.
        encoding: what was asked for.

    Raises:
        DataError: the mark contradicts what was asked for, or there is none where it is needed.
    """
    asked, marked = codecs.lookup(encoding).name, marked_encoding(head)
    if not asked.startswith(_WITHOUT_ORDER):
        return marked or asked
    if marked and not marked.startswith(asked):
        raise DataError(f"{name} has the byte order mark of {marked}, and encoding is {encoding!r}")
    if asked in _WITHOUT_ORDER and head and not marked:
        found = encoding_without_mark(head)
        fit = found if found.startswith(asked) else f"{asked}-le or {asked}-be"
        raise DataError(f"{name} has no byte order mark of {asked}; give --encoding {fit}")
    return marked or asked


def decoded_blocks(file: "TextFile", reading: "Reading") -> Iterator[str]:
    """Reads a file as text, in pieces, without a byte order mark.

    Bytes that are none of the encoding are refused or replaced as `reading.invalid_utf8` says; with
    "skip", whether there are any is to be known before (`is_decodable`).

    Raises:
        DataError: the file cannot be read, or has such bytes; the message has their offset.
    """
    encoding = _announced_encoding(file, reading)
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, first = 0, True
    with file.open(notes=not reading.quiet) as stream:
        while True:
            block = stream.read(_BLOCK)
            state = decoder.getstate()
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                if reading.invalid_utf8 != "replace":
                    # What was left of the last block is part of what the error shows.
                    place = offset - len(state[0])
                    raise not_decodable(file.name, encoding, error, place) from error
                text = _replaced(decoder, state, encoding, block, reading)
            if text and first:
                text, first = text.removeprefix(MARK), False
            if text:
                yield text
            if not block:
                return
            offset += len(block)


def _announced_encoding(file: "TextFile", reading: "Reading") -> str:
    encoding = encoding_of(file.name, file.head(), reading.encoding)
    if not reading.quiet and encoding not in ("utf-8", codecs.lookup(reading.encoding).name):
        note(f"{file.name} is {encoding} by its byte order mark, and is read so")
    return encoding


def _replaced(
    decoder: codecs.IncrementalDecoder,
    state: tuple[bytes, int],
    encoding: str,
    block: bytes,
    reading: "Reading",
) -> str:
    """Decodes a block with U+FFFD for bytes that are none of the encoding, which are counted."""
    texts = {}
    for errors in ("ignore", "replace"):
        decoder.errors = errors
        decoder.setstate(state)
        texts[errors] = decoder.decode(block, final=not block)
    decoder.errors = "strict"
    # The text may have U+FFFD itself.
    count = texts["replace"].count("\ufffd") - texts["ignore"].count("\ufffd")
    reading.counts.replaced_characters += count
    return texts["replace"]


def is_decodable(file: "TextFile", encoding: str) -> bool:
    """Returns whether a whole file is of the encoding."""
    decoder = codecs.getincrementaldecoder(encoding_of(file.name, file.head(), encoding))()
    with file.open(notes=False) as stream:
        try:
            while block := stream.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def decoded_lines(file: "TextFile", reading: "Reading", newline: str) -> Iterator[str]:
    """Reads a file as lines with their ends, without a byte order mark.

    Args:
        file: the file.
        reading: the encoding, and what to do with bytes that are none of it.
        newline: as in `lines_of`.

    Raises:
        DataError: as `decoded_blocks`.
    """
    if reading.invalid_utf8 == "replace":
        yield from lines_of(decoded_blocks(file, reading), newline)
        return
    with file.open(notes=not reading.quiet) as stream:
        # Python's own lines are the fastest, and replace without counting.
        yield from _library_lines(file, stream, reading, newline)


def _library_lines(
    file: "TextFile", stream: IO[bytes], reading: "Reading", newline: str
) -> Iterator[str]:
    encoding = _announced_encoding(file, reading)
    text = io.TextIOWrapper(cast(io.BufferedReader, stream), encoding, newline=newline)
    try:
        if first := next(text, "").removeprefix(MARK):
            yield first
        yield from text
    except UnicodeDecodeError as error:
        # It does not say where in the file it was: a second reading does.
        for _ in decoded_blocks(file, dataclasses.replace(reading, quiet=True)):
            pass
        raise DataError(f"{file.name} has changed while it was read") from error
    finally:
        # The stream is closed by its own context, and in a collection of garbage before this.
        if not stream.closed:
            text.detach()


def lines_of(blocks: Iterable[str], newline: str) -> Iterator[str]:
    """Cuts pieces of a text into lines with their ends.

    Args:
        blocks: the text.
        newline: "\\n": a line ends with LF; "": with LF, CRLF or CR. Other characters that separate
            lines for Python, such as U+2028, are part of a line.
    """
    for whole in whole_lines(blocks, newline):
        yield from io.StringIO(whole, newline=newline)


def whole_lines(blocks: Iterable[str], newline: str = "\n") -> Iterator[str]:
    """Cuts pieces of a text anew, so that each but the last ends where a line ends.

    Args:
        blocks: the text.
        newline: as in `lines_of`.
    """
    rest: list[str] = []
    for block in blocks:
        end = block.rfind("\n") + 1
        if not end and newline == "":
            # Not behind the last character: the next block may begin with the LF of its CR.
            end = block.rfind("\r", 0, -1) + 1
        if not end:
            rest.append(block)
            continue
        yield "".join([*rest, block[:end]])
        rest = [block[end:]]
    if last := "".join(rest):
        yield last


def not_decodable(name: str, encoding: str, error: UnicodeDecodeError, offset: int) -> DataError:
    """Returns the error of a file with a byte that is none of its encoding, and what to do.

    Args:
        name: the file.
        encoding: what it was read as.
        error: what decoding a part of it raised.
        offset: bytes before that part.
    """
    return DataError(
        f"{name} is not {_shown(encoding)}: byte 0x{error.object[error.start]:02x} at offset"
        f" {offset + error.start}; name its encoding (--encoding latin-1, gb18030, shift_jis, ...),"
        f" convert it (iconv -f LATIN1 -t UTF-8 {shlex.quote(name)} > NEW.txt), or choose"
        " --invalid-utf8 replace or skip"
    )


def _shown(encoding: str) -> str:
    return "UTF-8" if encoding == "utf-8" else encoding


def text_of_bytes(content: bytes, where: str, reading: "Reading", encoding: str = "") -> str:
    """Decodes a field of a record.

    Args:
        content: the field.
        where: file and place, for messages.
        reading: the encoding, and what to do with bytes that are none of it.
        encoding: instead of that.

    Raises:
        DataError: it is not of the encoding, and is not to be replaced.
    """
    encoding = encoding or reading.encoding
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if reading.invalid_utf8 != "replace":
            raise DataError(
                f"{where} is not {_shown(encoding)}: byte 0x{content[error.start]:02x} at offset"
                f" {error.start}; choose --invalid-utf8 replace"
            ) from error
    text = content.decode(encoding, "replace")
    kept = content.decode(encoding, "ignore").count("\ufffd")
    reading.counts.replaced_characters += text.count("\ufffd") - kept
    return text
