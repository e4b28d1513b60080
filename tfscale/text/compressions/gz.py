"""gzip: members one after the other, as `gzip` and `bgzip` write them."""

import gzip
import io
import zlib
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, cast

from tfscale.registry import register
from tfscale.text.compression import Compression

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@register
class Gzip(Compression):
    """Read by Python's own gzip."""

    name = "gz"
    what = "gzip"
    suffixes = (".gz",)
    magic = (b"\x1f\x8b\x08",)
    errors = (zlib.error,)

    def open(self, raw: IO[bytes], on_rest: Callable[[], None]) -> IO[bytes]:
        return cast(IO[bytes], _Members(gzip.GzipFile(fileobj=raw, mode="rb"), on_rest))


class _Members(io.RawIOBase):
    """The text of a gzip file, whose end is where no further member begins, as gzip(1) has it."""

    def __init__(self, stream: gzip.GzipFile, on_rest: Callable[[], None]):
        self._stream, self._on_rest, self._ended = stream, on_rest, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer)
        try:
            # One member's bytes at a time, so that none are lost where the next turns out to be
            # none.
            content = b"" if self._ended else self._stream.read1(len(target))
        except gzip.BadGzipFile as error:
            if not str(error).startswith("Not a gzipped file"):
                raise
            content, self._ended = b"", True
            self._on_rest()
        target[: len(content)] = content
        return len(content)
