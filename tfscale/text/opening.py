"""Opens files of texts: local, remote or in an archive, plain or packed."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, cast

from tfscale.errors import DataError, check_installed
from tfscale.files.paths import open_file, remote_message
from tfscale.terminal import note
from tfscale.text.compression import compression_named, compression_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MOST_TIMES = 1000
"""How many times the size of what is packed its text may have ..."""
ALWAYS_ALLOWED = 1 << 28
"""... where it has more bytes than this."""
_MAGIC = 16
_BUFFER = 1 << 18

Opener = Callable[[], AbstractContextManager[IO[bytes]]]


@contextlib.contextmanager
def open_text(
    path: str, notes: bool = True, opener: Opener | None = None, packed: int | None = None
) -> Iterator[IO[bytes]]:
    """Opens a file for reading, unpacked.

    Args:
        path: a local or remote file, plain or packed.
        notes: whether to say on stderr what is passed over in it.
        opener: opens its bytes as stored, where it is in an archive; `path` is then its name.
        packed: its bytes as stored; counted where left out.

    Raises:
        DataError: the file cannot be opened or, inside the block, read; or it has many times the
            bytes that are stored (`MOST_TIMES`). The message names it.
    """
    with errors_of(path), opener() if opener else open_file(path) as raw:
        head = raw.read(_MAGIC)
        compression = compression_of(head)
        if compression is None:
            if notes and (named := compression_named(path)):
                note(f"{path} is named like a {named.what} file, and is none; it is read as it is")
            raw.seek(0)
            yield raw
            return
        check_installed("corpora", *compression.modules)
        if packed is None:
            packed = raw.seek(0, io.SEEK_END) or raw.tell()
        raw.seek(0)

        def passed_over() -> None:
            if notes:
                what = compression.what
                note(f"{path} has other bytes after its {what} data, which are passed over")

        with contextlib.closing(compression.open(raw, passed_over)) as stream:
            damaged = f"{path} is a damaged {compression.what} file"
            yield CheckedStream(path, stream, damaged, compression.errors, packed).buffered()


class CheckedStream(io.RawIOBase):
    """Bytes that a library unpacks, whose errors are one line each; they may be counted.

    Args:
        path: the file's name, for messages.
        stream: what the library opened.
        damaged: what is said of damaged bytes.
        errors: what the library raises for them, besides EOFError and OSError.
        packed: the file's bytes as stored; more than `most_bytes` of it are refused. None where
            they were checked before; the stream can then be read at any place, if the library's
            can.
    """

    def __init__(
        self,
        path: str,
        stream: IO[bytes],
        damaged: str,
        errors: tuple[type[Exception], ...],
        packed: int | None = None,
    ):
        self._path, self._stream, self._damaged = path, stream, damaged
        self._errors: tuple[type[Exception], ...] = (EOFError, OSError, *errors)
        self._packed, self._read = packed, 0

    def buffered(self) -> IO[bytes]:
        """Returns the stream, behind a buffer."""
        return cast(IO[bytes], io.BufferedReader(self, _BUFFER))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._packed is None and self._stream.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if not self.seekable():
            raise io.UnsupportedOperation("seek")
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer)
        try:
            content = self._stream.read(len(target))
        except self._errors as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise DataError(f"{self._damaged} ({error})") from error
        self._read += len(content)
        if self._packed is not None and self._read > most_bytes(self._packed):
            raise too_large(self._path, self._packed)
        target[: len(content)] = content
        return len(content)


def most_bytes(packed: int) -> int:
    """Returns how many bytes `packed` bytes may become."""
    return max(ALWAYS_ALLOWED, MOST_TIMES * packed)


def too_large(path: str, packed: int) -> DataError:
    """Returns the error of a file that becomes much larger than any text would."""
    return DataError(
        f"{path} unpacks to more than {most_bytes(packed):,} bytes, {MOST_TIMES:,} times its"
        f" {packed:,}, which no text does; unpack it yourself if it is right"
    )


@contextlib.contextmanager
def unpacked_copy(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Copies a stream into a temporary file, which can be read at any place; it has no name.

    Raises:
        DataError: the folder of temporary files is full.
    """
    with tempfile.TemporaryFile(prefix="tfscale-") as copy:
        copy_to(stream, copy)
        copy.seek(0)
        yield copy


def copy_to(stream: IO[bytes], copy: IO[bytes]) -> None:
    """Copies a stream to a temporary file.

    Raises:
        DataError: there is no room for it.
    """
    while block := stream.read(1 << 20):
        try:
            copy.write(block)
            copy.flush()
        except OSError as error:
            raise DataError(
                f"no room to unpack into {tempfile.gettempdir()}: {error.strerror}; name a larger"
                " folder by the environment variable TMPDIR"
            ) from error


@contextlib.contextmanager
def errors_of(path: str) -> Iterator[None]:
    """Turns errors of the file system into one line that names the path.

    Raises:
        DataError: what was raised inside the block, if it was such an error.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read: {error.strerror or error}"
        ) from error
    except Exception as error:
        if message := remote_message(path, error):
            raise DataError(f"{path} cannot be read: {message}") from error
        raise
