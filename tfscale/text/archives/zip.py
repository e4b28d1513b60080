"""zip archives."""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.archive import Archive, Entry

_OFFICE = ("[Content_Types].xml", "mimetype")
"""Files by which office programs and e-books mark zip archives of their own."""
ADVICE = "make text of it by pandoc"
_FIRST_NAME = 30
"""Where the name of the first file begins."""


@register
class ZipArchive(Archive):
    """Read by Python's own zipfile."""

    name = "zip"
    what = "zip"
    suffixes = (".zip",)
    errors = (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        struct.error,
        ValueError,
        NotImplementedError,
        IndexError,
        OverflowError,
    )

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        return head.startswith((b"PK\x03\x04", b"PK\x05\x06")) and not is_office_document(head)

    def __init__(self, stream: IO[bytes]):
        super().__init__(stream)
        self._zip = zipfile.ZipFile(stream)

    def entries(self) -> Iterator[Entry]:
        files = self._zip.infolist()
        if found := {file.filename for file in files}.intersection(_OFFICE):
            raise DataError(f"is an office document or an e-book (it holds {min(found)}); {ADVICE}")
        for file in files:
            # The upper half is the mode of Unix, 0 where another system packed the file.
            kind = file.external_attr >> 28
            if file.is_dir():
                continue
            if kind not in (0, 8):
                self.passed_over += 1
                continue
            yield Entry(
                file.filename, file.file_size, file.compress_size, file, bool(file.flag_bits & 1)
            )

    def open(self, entry: Entry) -> IO[bytes]:
        return self._zip.open(entry.handle)


def is_office_document(head: bytes) -> bool:
    """Returns whether a file that begins so is a .docx, .odt, .epub or the like."""
    marks = tuple(name.encode() for name in _OFFICE)
    return head.startswith(b"PK\x03\x04") and head[_FIRST_NAME:].startswith(marks)
