"""Zstandard: frames one after the other, as `zstd` and `pzstd` write them."""

from collections.abc import Callable
from typing import IO, Any, cast

from tfscale.registry import register
from tfscale.text.compression import Compression
from tfscale.text.compressions._streams import Streams, Unpacker

_STEP = 1 << 12
"""Packed bytes of one step: 4 of them can become 128 KiB, so a step becomes 128 MiB at most."""
_WINDOW = 1 << 31
"""Largest window, that of `zstd --long=31`, by which the archives of some forums are packed."""
_SKIPPABLE = tuple(bytes((0x50 + number, 0x2A, 0x4D, 0x18)) for number in range(16))
_FRAMES = (b"\x28\xb5\x2f\xfd", *_SKIPPABLE)


@register
class Zstandard(Compression):
    """Read by the library zstandard."""

    name = "zst"
    what = "zstd"
    suffixes = (".zst", ".zstd")
    magic = _FRAMES
    modules = ("zstandard",)

    def open(self, raw: IO[bytes], on_rest: Callable[[], None]) -> IO[bytes]:
        import zstandard

        library = zstandard.ZstdDecompressor(max_window_size=_WINDOW)

        def unpacker(head: bytes) -> Unpacker:
            return _Skipped() if head.startswith(_SKIPPABLE) else _Frame(library.decompressobj())

        return cast(IO[bytes], Streams(raw, self.magic, unpacker, on_rest, _STEP))


class _Frame:
    """One frame. Its text cannot be had in parts, so what it is given is small."""

    needs_input = True

    def __init__(self, frame: Any):
        self._frame = frame

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        import zstandard

        try:
            return bytes(self._frame.decompress(data))
        except zstandard.ZstdError as error:
            # As Python's own compressions do.
            raise OSError(str(error).removeprefix("zstd decompressor error: ")) from error


class _Skipped:
    """A frame of other data: its length, and as many bytes that are left out."""

    needs_input = True

    def __init__(self) -> None:
        self.eof, self.unused_data = False, b""
        self._head, self._left = b"", -1

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if self._left < 0:
            data, self._head = self._head + data, b""
            if len(data) < 8:
                self._head = data
                return b""
            self._left = int.from_bytes(data[4:8], "little")
            data = data[8:]
        if self._left > len(data):
            self._left -= len(data)
        else:
            self.eof, self.unused_data = True, data[self._left :]
        return b""
