"""A remote file as a stream of Python, which libraries take like a local one."""

import io
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER = 1 << 18
"""Bytes that are read at a time: each reading of a remote file takes a while."""


def open_remote(path: str) -> IO[bytes]:
    """Opens a remote file for reading; it can be read at any place.

    Errors of the file system are TensorFlow's, and come when it is read.
    """
    return cast(IO[bytes], io.BufferedReader(_RemoteBytes(path), _BUFFER))


class _RemoteBytes(io.RawIOBase):
    """TensorFlow's file, which lacks most of the methods of Python's."""

    def __init__(self, path: str):
        import tensorflow as tf

        self._file: Any = tf.io.gfile.GFile(path, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(offset=offset, whence=whence)
        return self.tell()

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer)
        content = self._file.read(len(target))
        target[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        return bytes(self._file.read())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
