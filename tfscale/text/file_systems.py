"""Local and remote file systems, as a search for text sees them."""

import glob
import os
import stat
from typing import Protocol


class FileSystem(Protocol):
    """Questions about paths; `walk` lists the files below a folder that are not hidden, sorted."""

    def exists(self, path: str) -> bool: ...
    def is_folder(self, path: str) -> bool: ...
    def is_file(self, path: str) -> bool: ...
    def size(self, path: str) -> int: ...
    def real(self, path: str) -> str: ...
    def glob(self, pattern: str) -> list[str]: ...
    def walk(self, folder: str) -> list[str]: ...


class LocalFiles:
    """Files of this machine; a file is the same by whatever spelling or link it is named."""

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def size(self, path: str) -> int:
        return os.path.getsize(path)

    def real(self, path: str) -> str:
        return os.path.realpath(path)

    def is_file(self, path: str) -> bool:
        # A link that leads nowhere raises the error to show.
        return stat.S_ISREG(os.stat(path).st_mode)

    def glob(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern, recursive=True))

    def walk(self, folder: str) -> list[str]:
        def fail(error: OSError) -> None:
            raise error

        files: list[str] = []
        seen: set[str] = set()
        waiting = [folder]
        # Folders themselves come before links to them: what both lead to has the name that it has
        # without links.
        for top in waiting:
            for below, folders, names in os.walk(top, onerror=fail):
                real = os.path.realpath(below)
                shown = sorted(name for name in folders if not name.startswith("."))
                folders[:] = [] if real in seen else shown
                if real not in seen:
                    files += [
                        os.path.join(below, name) for name in names if not name.startswith(".")
                    ]
                    waiting += filter(
                        os.path.islink, (os.path.join(below, name) for name in folders)
                    )
                seen.add(real)
        return sorted(files)


class RemoteFiles:
    """Files of a remote file system, through TensorFlow."""

    def __init__(self) -> None:
        import tensorflow as tf

        self._files = tf.io.gfile

    def exists(self, path: str) -> bool:
        return self._files.exists(path)

    def is_folder(self, path: str) -> bool:
        return self._files.isdir(path)

    def is_file(self, path: str) -> bool:
        return True

    def real(self, path: str) -> str:
        return path

    def size(self, path: str) -> int:
        return self._files.stat(path).length

    def glob(self, pattern: str) -> list[str]:
        return sorted(self._files.glob(pattern))

    def walk(self, folder: str) -> list[str]:
        files: list[str] = []
        for below, _, names in self._files.walk(folder):
            # The folder itself may be hidden.
            parts = below[len(folder) :].strip("/").split("/")
            if not any(part.startswith(".") for part in parts):
                files += [os.path.join(below, name) for name in names if not name.startswith(".")]
        return sorted(files)
