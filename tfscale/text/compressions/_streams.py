"""Packed streams one after the other, unpacked by a library's objects of one stream each."""

import io
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MAGIC = 16


class Unpacker(Protocol):
    """One packed stream, as `bz2.BZ2Decompressor` has it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Streams(io.RawIOBase):
    """The text of a file of packed streams.

    Python's and the libraries' own files end without a word where a further stream begins with
    damaged bytes, or where the last one is cut off.

    Args:
        raw: the packed bytes.
        magic: first bytes of a stream.
        unpacker: takes a stream's first bytes, and returns what unpacks it.
        on_rest: is called once if other bytes follow the last stream.
        step: packed bytes that are unpacked at a time.
        padding: bytes that may stand between streams.
    """

    def __init__(
        self,
        raw: IO[bytes],
        magic: tuple[bytes, ...],
        unpacker: Callable[[bytes], Unpacker],
        on_rest: Callable[[], None],
        step: int = 1 << 16,
        padding: bytes = b"",
    ):
        self._raw, self._magic, self._new, self._on_rest = raw, magic, unpacker, on_rest
        self._step, self._padding = step, padding
        self._unpacker: Unpacker | None = None
        self._packed, self._text, self._ended = b"", memoryview(b""), False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer)
        while not self._text and not self._ended:
            self._text = memoryview(self._advanced(len(target)))
        count = min(len(target), len(self._text))
        target[:count] = self._text[:count]
        self._text = self._text[count:]
        return count

    def _advanced(self, most: int) -> bytes:
        """Returns the next bytes of the text; empty if there are none yet, or none any more.

        Raises:
            EOFError: the file ends within a stream.
        """
        if self._unpacker is None:
            self._packed = self._packed.lstrip(self._padding) if self._padding else self._packed
            if len(self._packed) < _MAGIC and (more := self._raw.read(self._step)):
                self._packed += more
                return b""
            if not self._packed.startswith(self._magic):
                self._ended = True
                if self._packed:
                    self._on_rest()
                return b""
            self._unpacker = self._new(self._packed[:_MAGIC])
        packed = b""
        if self._unpacker.needs_input:
            packed = self._packed or self._raw.read(self._step)
            packed, self._packed = packed[: self._step], packed[self._step :]
            if not packed:
                raise EOFError("the file ends within packed data")
        text = self._unpacker.decompress(packed, most)
        if self._unpacker.eof:
            self._packed = self._unpacker.unused_data + self._packed
            self._unpacker = None
        return text
