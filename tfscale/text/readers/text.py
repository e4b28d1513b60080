"""Plain text, cut into documents as it is read."""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.decoding import decoded_blocks, decoded_lines, is_decodable, whole_lines
from tfscale.text.formats import Refusal, refusal
from tfscale.text.reader import DocumentKind, Reader, Reading, TextFile

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
"""A line end and the blank lines after it."""


@register
class TextReader(Reader):
    """Plain text; what looks like another format is refused (see `tfscale.text.formats.refusal`).

    A "file" document is the whole text of a file, unchanged but for a byte order mark, which is
    left out. See `cut_text` for the others.
    """

    name = "text"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)

    def documents(self, file: TextFile, reading: Reading) -> Iterator[str]:
        return itertools.chain.from_iterable(self._cut(file, reading))

    def _cut(self, file: TextFile, reading: Reading) -> Iterator[Iterator[str]]:
        if self._is_skipped(file, reading):
            return
        if reading.documents != "file":
            yield cut_text(decoded_blocks(file, reading), reading.documents)
        elif text := "".join(decoded_blocks(file, reading)):
            yield iter([text])
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


def cut_text(blocks: Iterable[str], documents: DocumentKind) -> Iterator[str]:
    """Cuts a text into documents, as a stream.

    A "line" is what stands between line ends (LF or CRLF), a "paragraph" what stands between blank
    lines, without the line end that closes it. Documents of nothing but white space are left out. A
    "file" is the whole text, and left out only if it is empty.

    Args:
        blocks: the text, in pieces that are cut anywhere.
        documents: what one document is.

    Example:
        list(cut_text(["one\\ntwo\\n", "\\nthree"], "paragraph"))  # ["one\\ntwo", "three"]
    """
    if documents == "file":
        return filter(None, ["".join(blocks)])
    # Lines of a few words are many: what is done for each takes as long as all else, so that a
    # block of them is cut at a time.
    cut = _lines if documents == "line" else _paragraphs
    return itertools.chain.from_iterable(cut(whole_lines(blocks)))


def _lines(blocks: Iterable[str]) -> Iterator[list[str]]:
    for block in blocks:
        lines = block.split("\n")
        if "\r" in block:
            lines = [line.removesuffix("\r") for line in lines]
        yield [line for line in lines if line and not line.isspace()]


def _paragraphs(blocks: Iterable[str]) -> Iterator[list[str]]:
    begun: list[str] = []
    for block in blocks:
        # Each block begins where a line begins; the last one may lack its line end.
        whole = block if block.endswith("\n") else f"{block}\n"
        first, *others = _BLANK_LINES.split(f"\n{whole}")
        begun.append(first[1:])
        if not others:
            continue
        paragraphs = ["".join(begun).removesuffix("\n"), *others[:-1]]
        begun = [others[-1]]
        yield [paragraph.removesuffix("\r") for paragraph in paragraphs if paragraph]
    if last := "".join(begun):
        yield [last.removesuffix("\n").removesuffix("\r")]
