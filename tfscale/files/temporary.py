"""Temporary files and folders beside the final ones, and leftovers of killed processes.

A name is `TARGET.tmp-MACHINE-RANDOM`: no two processes have the same, whatever their process
numbers. A folder has a lock beside it, `TARGET.tmp-MACHINE-RANDOM.lock` (see
`tfscale.files.locks`); a file is locked itself.

`remove_leftovers` removes what it can lock. Where that proves nothing, because another machine
wrote it or the file system has no locks, a folder must also have been left alone for an hour (its
lock is touched every few seconds), and a file for a day; so must what an earlier version left,
which had no locks. Nothing is taken from a process that lives.
"""

import contextlib
import ctypes
import errno
import hashlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from typing import IO, Any, TypeAlias

from tfscale.files.locks import Held, hold, is_at, machine, try_lock

File: TypeAlias = IO[Any]
"""An open file, of bytes or of text as its mode says, which no type can."""
LOCK, EARLIER = ".lock", ".old"
_HOUR, _DAY = 3600.0, 86_400.0
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""From <fcntl.h> and <linux/fs.h>."""


def new_name(path: str) -> str:
    """Returns a name beside `path` that nothing else has."""
    return f"{path}.tmp-{_tag()}-{secrets.token_hex(4)}"


def _tag() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:8]


def open_temporary(path: str, mode: str) -> File:
    """Opens a new file beside `path`, locked as long as it is open; its `name` is where it lies.

    Args:
        path: what it is to become.
        mode: "wb", or "w" for UTF-8 text.
    """
    while True:
        name = new_name(path)
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        # Not locked for a moment, it may have been taken for one whose writer died.
        if try_lock(descriptor) is not False and is_at(descriptor, name):
            return _opened(descriptor, name, mode)
        os.close(descriptor)


def _opened(descriptor: int, name: str, mode: str) -> File:
    return open(name, mode, encoding=None if "b" in mode else "utf-8", opener=lambda *_: descriptor)


@contextlib.contextmanager
def temporary_folder(path: str) -> Iterator[str]:
    """Yields a new folder beside `path`; it is removed at the end if it still has its name.

    Raises:
        OSError: it cannot be made.
    """
    held = _new_lock(path)
    folder = held.path.removesuffix(LOCK)
    try:
        os.mkdir(folder)
        yield folder
    finally:
        # The lock goes last: should this be interrupted, the next start does it.
        _restore(folder)
        remove_tree(folder)
        held.release()


def _new_lock(path: str) -> Held:
    while True:
        if (held := hold(new_name(path) + LOCK)) is not None:
            return held


def put_in_place(folder: str, target: str) -> None:
    """Gives a folder of `temporary_folder` the name `target`.

    The folder that had that name is removed with the block.

    Where the system can exchange two names (Linux), there is no moment without a folder at
    `target`. Elsewhere an earlier one has another name for a moment, and gets its own back if
    anything comes between; if the process is killed there, by `remove_leftovers` at the next start.
    """
    while os.path.isdir(target):
        if exchange(folder, target):
            return
        # Another process may have put its own there since.
        with _unless_taken():
            os.rename(target, folder + EARLIER)
            os.rename(folder, target)
            return
    with _unless_taken():
        os.rename(folder, target)
        return
    put_in_place(folder, target)


@contextlib.contextmanager
def _unless_taken() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def exchange(a: str, b: str) -> bool:
    """Exchanges two names at once.

    False where one of them is missing, or the file system cannot.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    return (
        libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0
    )


def remove_leftovers(folder: str, prefix: str = "") -> list[str]:
    """Removes temporary files and folders whose writers are dead, and puts earlier folders back.

    Args:
        folder: where to look; what cannot be looked at is left alone.
        prefix: how the names begin, such as that of one target.

    Returns:
        What was removed or put back, each in words.

    Example:
        remove_leftovers("/data", "corpus")  # ["corpus.tmp-1f0c2d3e-9a8b7c6d (60.1 MB)"]
    """
    try:
        names = [name for name in os.listdir(folder) if name.startswith(prefix) and ".tmp-" in name]
    except OSError:
        return []
    stems = {name.removesuffix(LOCK).removesuffix(EARLIER) for name in names}
    removed: list[str] = []
    for stem in sorted(stems):
        if not prefix or stem.startswith(f"{prefix}.tmp-"):
            with contextlib.suppress(OSError):
                removed += _remove_one(os.path.join(folder, stem))
    return removed


def _remove_one(path: str) -> list[str]:
    marked = path + LOCK if os.path.exists(path + LOCK) else path
    if not os.path.isfile(marked):  # A folder of an earlier version.
        return _removed(path) if os.path.isdir(path) and time.time() - _newest(path) > _DAY else []
    descriptor = os.open(marked, os.O_RDWR)
    try:
        locked = try_lock(descriptor)
        least = 0.0 if locked and not _is_foreign(path) else _HOUR if marked != path else _DAY
        if (
            locked is False
            or not is_at(descriptor, marked)
            or time.time() - os.fstat(descriptor).st_mtime < least
        ):
            return []
        cleared = _restore(path) + _removed(path)
        if marked != path:
            os.remove(marked)
        return cleared
    finally:
        os.close(descriptor)


def _is_foreign(path: str) -> bool:
    """Returns whether a name is of another machine: locks of its writer may not be seen here."""
    return not path.rpartition(".tmp-")[2].startswith(f"{_tag()}-")


def _restore(path: str) -> list[str]:
    """Restores the name of a folder whose process was killed while it put one in place."""
    earlier, target = path + EARLIER, path.rpartition(".tmp-")[0]
    if not os.path.lexists(earlier):
        return []
    if os.path.lexists(target):
        return _removed(earlier)
    os.rename(earlier, target)
    return [f"{os.path.basename(target)} put back as it was"]


def _removed(path: str) -> list[str]:
    if not os.path.lexists(path):
        return []
    size = sum(os.lstat(name).st_size for name in _files(path))
    remove_tree(path)
    return [f"{os.path.basename(path)} ({size / 1e6:,.1f} MB)"]


def _newest(path: str) -> float:
    return max(os.lstat(name).st_mtime for name in [path, *_files(path)])


def _files(path: str) -> list[str]:
    if not os.path.isdir(path) or os.path.islink(path):
        return [path]
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]


def remove_tree(path: str) -> None:
    """Removes a folder, a file or a link, as far as it is there and can be removed."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        os.remove(path)
