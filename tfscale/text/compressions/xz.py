"""xz: one stream or several, as `xz` and `pixz` write them."""

import lzma
from collections.abc import Callable
from typing import IO, cast

from tfscale.registry import register
from tfscale.text.compression import Compression
from tfscale.text.compressions._streams import Streams


@register
class Xz(Compression):
    """Read by Python's own lzma."""

    name = "xz"
    what = "xz"
    suffixes = (".xz",)
    magic = (b"\xfd7zXZ\x00",)
    errors = (lzma.LZMAError,)

    def open(self, raw: IO[bytes], on_rest: Callable[[], None]) -> IO[bytes]:
        # Streams are padded with zeros to four bytes.
        streams = Streams(
            raw, self.magic, lambda head: lzma.LZMADecompressor(), on_rest, padding=b"\0"
        )
        return cast(IO[bytes], streams)
