"""Plain UTF-8 text, cut into documents as it is read."""

import codecs
import io
from collections.abc import Iterable, Iterator
from typing import IO, ClassVar

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.formats import not_utf8, refusal
from tfscale.text.reader import HEAD, DocumentKind, ReadCounts, Reader, Reading, TextFile

MARK = "\ufeff"
"""A byte order mark, which says that a file is UTF-8 and is not part of its text."""


@register
class TextReader(Reader):
    """Plain text; what looks like another format is refused (see `tfscale.text.formats.refusal`).

    A "file" document is the whole text of a file, unchanged but for a byte order mark, which is
    left out. See `cut_lines` for the others.
    """

    name = "text"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)

    def documents(self, file: TextFile, reading: Reading) -> Iterator[str]:
        if reading.documents == "file":
            yield from _whole_file(file, reading)
        else:
            yield from _streamed(file, reading)

    def lines(self, file: TextFile) -> Iterator[str]:
        """Reads the lines of a file that must be UTF-8, with their ends as a single newline.

        A line ends with LF, CRLF or CR. Other characters that separate lines for Python, such as
        U+2028, are part of a line.

        Raises:
            DataError: the file cannot be read, or is not UTF-8.
        """
        with file.open() as stream:
            text = io.TextIOWrapper(stream, "utf-8-sig")
            try:
                for line in text:
                    yield line if line.endswith("\n") else f"{line}\n"
            except UnicodeDecodeError as error:
                raise DataError(f"{file.name} cannot be read: {error}") from error
            finally:
                # The stream is closed by its own context.
                text.detach()


def cut_lines(lines: Iterable[str], documents: DocumentKind) -> Iterator[str]:
    """Cuts lines into documents, as a stream.

    A "line" is what stands between line ends (LF or CRLF), a "paragraph" what stands between blank
    lines, without the line end that closes it. Documents of nothing but white space are left out. A
    "file" is all lines, and left out only if it is empty.

    Example:
        list(cut_lines(["one\\n", "two\\n", "\\n", "three"], "paragraph"))  # ["one\\ntwo", "three"]
    """
    if documents == "file":
        if text := "".join(lines):
            yield text
    elif documents == "line":
        yield from (_without_line_end(line) for line in lines if line.strip())
    else:
        yield from _paragraphs(lines)


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in lines:
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield _without_line_end("".join(paragraph))
            paragraph = []
    if paragraph:
        yield _without_line_end("".join(paragraph))


def _without_line_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _whole_file(file: TextFile, reading: Reading) -> Iterator[str]:
    with file.open() as stream:
        content = stream.read()
    if _is_skipped(file.name, content[:HEAD], reading):
        return
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        if reading.invalid_utf8 == "error":
            raise not_utf8(file.name, error, 0) from error
        if reading.invalid_utf8 == "skip":
            reading.counts.skipped_files += 1
            return
        text = _replaced(content, reading.counts)
    text = text.removeprefix(MARK)
    reading.counts.empty += not text
    yield from cut_lines([text], "file")


def _streamed(file: TextFile, reading: Reading) -> Iterator[str]:
    if _is_skipped(file.name, file.head(), reading):
        return
    # Whether a file is to be skipped must be known before its first document is given out.
    if reading.invalid_utf8 == "skip" and not _is_utf8(file):
        reading.counts.skipped_files += 1
        return
    with file.open() as stream:
        yield from cut_lines(_decoded_lines(file.name, stream, reading), reading.documents)


def _is_skipped(path: str, head: bytes, reading: Reading) -> bool:
    """Returns whether a file is skipped for its first bytes; raises if it is refused for them."""
    refused = refusal(path, head)
    if refused is None:
        return False
    if refused.utf8 or reading.invalid_utf8 != "skip":
        raise DataError(refused.message)
    reading.counts.skipped_files += 1
    return True


def _decoded_lines(path: str, stream: IO[bytes], reading: Reading) -> Iterator[str]:
    offset = 0
    # No byte of a longer UTF-8 sequence is a line end, so lines can be decoded one by one.
    for line in stream:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            if reading.invalid_utf8 != "replace":
                raise not_utf8(path, error, offset) from error
            text = _replaced(line, reading.counts)
        yield text if offset else text.removeprefix(MARK)
        offset += len(line)


def _is_utf8(file: TextFile) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.open(notes=False) as stream:
        try:
            while block := stream.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _replaced(content: bytes, counts: ReadCounts) -> str:
    text = content.decode("utf-8", "replace")
    written = content.count("\ufffd".encode())
    counts.replaced_characters += text.count("\ufffd") - written
    return text
