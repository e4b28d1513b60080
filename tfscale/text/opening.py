"""Opens files of texts: local or remote, plain or gzip."""

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, cast

from tfscale.errors import DataError
from tfscale.files.paths import open_file, remote_message
from tfscale.terminal import note

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_GZIP_MAGIC = b"\x1f\x8b"


@contextlib.contextmanager
def open_text(path: str, notes: bool = True) -> Iterator[IO[bytes]]:
    """Opens a file for reading, uncompressed.

    Args:
        path: a local or remote file, plain or gzip.
        notes: whether to say on stderr what is passed over in it.

    Raises:
        DataError: the file cannot be opened or, inside the block, read; the message names it.
    """
    with errors_of(path), open_file(path) as raw:
        head = raw.read(len(_GZIP_MAGIC))
        raw.seek(0)
        if head == _GZIP_MAGIC:
            with gzip.open(raw, "rb") as stream:
                members = _GzipMembers(path, stream, notes)
                yield cast(IO[bytes], io.BufferedReader(members))
        else:
            yield raw


class _GzipMembers(io.RawIOBase):
    """The text of a gzip file, whose end is where no further member begins, as gzip(1) has it."""

    def __init__(self, path: str, stream: gzip.GzipFile, notes: bool):
        self._path, self._stream, self._notes, self._ended = path, stream, notes, False

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
            if self._notes:
                note(f"{self._path} has other bytes after its gzip data, which are passed over")
        target[: len(content)] = content
        return len(content)


@contextlib.contextmanager
def errors_of(path: str) -> Iterator[None]:
    """Turns errors of the file system into one line that names the path.

    Raises:
        DataError: what was raised inside the block, if it was such an error.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file ({error})") from error
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read: {error.strerror or error}"
        ) from error
    except Exception as error:
        if message := remote_message(path, error):
            raise DataError(f"{path} cannot be read: {message}") from error
        raise
