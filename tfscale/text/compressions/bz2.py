"""bzip2: one stream or several, as `bzip2` and `pbzip2` write them."""

import bz2
from collections.abc import Callable
from typing import IO, cast

from tfscale.registry import register
from tfscale.text.compression import Compression
from tfscale.text.compressions._streams import Streams

_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
"""The bytes after the level in a stream: those of its first block, or of its end."""


@register
class Bzip2(Compression):
    """Read by Python's own bz2."""

    name = "bz2"
    what = "bzip2"
    suffixes = (".bz2",)
    magic = tuple(b"BZh%d" % level + block for level in range(1, 10) for block in _BLOCKS)

    def open(self, raw: IO[bytes], on_rest: Callable[[], None]) -> IO[bytes]:
        streams = Streams(raw, self.magic, lambda head: bz2.BZ2Decompressor(), on_rest)
        return cast(IO[bytes], streams)
