"""Zstandard: frames one after the other, as `zstd` and `pzstd` write them."""

import io
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, cast

from tfscale.registry import register
from tfscale.text.compression import Compression

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

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
        return cast(IO[bytes], _Frames(raw, on_rest))


class _Frames(io.RawIOBase):
    """The text of the frames of a file.

    The library's own stream ends without a word where the file ends too early, so frames are read
    one by one here.
    """

    def __init__(self, raw: IO[bytes], on_rest: Callable[[], None]):
        import zstandard

        self._raw, self._on_rest = raw, on_rest
        self._error = zstandard.ZstdError
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        self._frame: Any = None
        self._packed, self._text, self._ended = b"", memoryview(b""), False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        while not self._text and not self._ended:
            self._advance()
        target = memoryview(buffer)
        count = min(len(target), len(self._text))
        target[:count] = self._text[:count]
        self._text = self._text[count:]
        return count

    def _advance(self) -> None:
        if self._frame is None:
            while len(self._packed) < 4 and (more := self._raw.read(_STEP)):
                self._packed += more
            if not self._packed.startswith(_FRAMES):
                self._ended = True
                if self._packed:
                    self._on_rest()
                return
            if self._packed.startswith(_SKIPPABLE):
                self._skip()
                return
            self._frame = self._unpacker.decompressobj()
        packed = self._packed or self._raw.read(_STEP)
        if not packed:
            raise EOFError("the file ends within a frame")
        try:
            text = self._frame.decompress(packed[:_STEP])
        except self._error as error:
            # As Python's own compressions do.
            raise OSError(str(error).removeprefix("zstd decompressor error: ")) from error
        self._packed = self._frame.unused_data + packed[_STEP:]
        self._text = memoryview(text)
        if self._frame.eof:
            self._frame = None

    def _skip(self) -> None:
        """Leaves out a frame of other data, which is its length and as many bytes."""
        while len(self._packed) < 8 and (more := self._raw.read(_STEP)):
            self._packed += more
        left = 8 + int.from_bytes(self._packed[4:8], "little")
        while left > len(self._packed):
            left -= len(self._packed)
            self._packed = self._raw.read(_STEP)
            if not self._packed:
                raise EOFError("the file ends within a frame")
        self._packed = self._packed[left:]
