"""Plain text, cut into documents as it is read."""

from collections.abc import Iterable, Iterator
from typing import ClassVar

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.decoding import decoded_blocks, decoded_lines, is_decodable
from tfscale.text.formats import Refusal, refusal
from tfscale.text.reader import DocumentKind, Reader, Reading, TextFile


@register
class TextReader(Reader):
    """Plain text; what looks like another format is refused (see `tfscale.text.formats.refusal`).

    A "file" document is the whole text of a file, unchanged but for a byte order mark, which is
    left out. See `cut_lines` for the others.
    """

    name = "text"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)

    def documents(self, file: TextFile, reading: Reading) -> Iterator[str]:
        if self._is_skipped(file, reading):
            return
        if reading.documents != "file":
            yield from cut_lines(decoded_lines(file, reading, "\n"), reading.documents)
        elif text := "".join(decoded_blocks(file, reading)):
            yield text
        else:
            reading.counts.empty += 1

    def check(self, file: TextFile, reading: Reading) -> None:
        if (found := self._refusal(file, reading)) and (
            found.decodable or reading.invalid_utf8 != "skip"
        ):
            raise DataError(found.message)

    def _is_skipped(self, file: TextFile, reading: Reading) -> bool:
        """Returns whether a file is skipped; raises if it is refused."""
        TextReader.check(self, file, reading)
        skips = reading.invalid_utf8 == "skip"
        # Whether a file is to be skipped must be known before its first document is given out.
        if skips and (
            self._refusal(file, reading) is not None or not is_decodable(file, reading.encoding)
        ):
            reading.counts.skipped_files += 1
            return True
        return False

    def _refusal(self, file: TextFile, reading: Reading) -> Refusal | None:
        forced = reading.format == self.name or self.name != "text"
        return refusal(file.name, file.head(), reading.encoding, forced, reading.text_field)

    def lines(self, file: TextFile, reading: Reading | None = None) -> Iterator[str]:
        """Reads the lines of a file with their ends: LF, CRLF or CR.

        Other characters that separate lines for Python, such as U+2028, are part of a line.

        Raises:
            DataError: the file cannot be read, or has bytes that are not of the encoding.
        """
        return decoded_lines(file, reading or Reading(), "")


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
        # Lines of a few words are many: a call for each would take as long as all else.
        for line in lines:
            if line.strip():
                yield line.removesuffix("\n").removesuffix("\r")
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
