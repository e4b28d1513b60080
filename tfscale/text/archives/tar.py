"""tar archives, plain or packed as a whole (.tar.gz, .tgz, .tar.zst, .tar.xz, .tar.bz2)."""

import tarfile
from collections.abc import Iterator
from typing import IO

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.archive import Archive, Entry

_MAGIC_AT = 257
_BLOCK = 512


@register
class TarArchive(Archive):
    """Read by Python's own tarfile."""

    name = "tar"
    what = "tar"
    suffixes = (".tar", ".tgz", ".tbz2", ".txz", ".tzst")
    errors = (tarfile.TarError, ValueError, OverflowError, KeyError, IndexError, TypeError)
    random_access = True

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        # The oldest tars have no magic: a header with the right sum of its bytes is one of theirs.
        return head[_MAGIC_AT : _MAGIC_AT + 5] == b"ustar" or _is_header(head)

    def __init__(self, stream: IO[bytes]):
        super().__init__(stream)
        self._tar = tarfile.open(fileobj=stream, mode="r:")

    def entries(self) -> Iterator[Entry]:
        for member in self._tar:
            if member.isreg():
                yield Entry(member.name, member.size, member.size, member)
            elif not member.isdir():
                self.passed_over += 1
        # The library takes a damaged header for the end, whose mark is a block of zeros.
        self.stream.seek(self._tar.offset)
        if self.stream.read(_BLOCK).strip(b"\0"):
            raise tarfile.ReadError(f"bad header at offset {self._tar.offset}")
        while block := self.stream.read(_BLOCK):
            if _is_header(block):
                raise DataError(
                    "has another tar archive after its end, as cat writes it; unpack both by tar"
                    " --ignore-zeros -xf"
                )

    def open(self, entry: Entry) -> IO[bytes]:
        stream = self._tar.extractfile(entry.handle)
        assert stream is not None
        return stream


def _is_header(block: bytes) -> bool:
    """Returns whether a block holds the right sum of its own bytes."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
