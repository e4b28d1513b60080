"""Locks that other processes see on any machine, and that end with the process that holds them.

A lock is a file with `flock` on it, which the kernel releases when its process dies, however that
happens; containers of one machine and clients of one NFS server see each other's. Process numbers
decide nothing: in containers they are the same at each start. Some file systems have no such locks,
and some keep them to one machine. So the holder also touches its file every few seconds, and a file
that another machine left, or that cannot be locked, is watched for a while: one that is touched has
a living holder.
"""

import contextlib
import errno
import os
import platform
import threading
import time

from tfscale.files.json_text import JsonObject, parse_json, to_json

try:
    import fcntl
except ImportError:  # Windows; the touches alone decide there.
    fcntl = None  # type: ignore[assignment]

BEAT_SECONDS = 5.0
"""Seconds between the touches of a file that is held."""
WATCH_SECONDS = 15.0
"""Seconds without a touch after which the holder is dead, where the lock itself cannot tell."""

_BUSY = (errno.EWOULDBLOCK, errno.EACCES)
_held: "set[Held]" = set()
_beating = threading.Lock()
_beats_in: int | None = None
"""The process whose thread touches what is held; a fork has the variable, and no thread."""


def machine() -> str:
    """Returns the number of this boot of the kernel.

    Processes that share it see each other's locks.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return platform.node()


class Held:
    """A lock that this process holds; made by `hold`. Release it, or use it as a context."""

    def __init__(self, path: str, descriptor: int):
        global _beats_in
        self.path, self.descriptor = path, descriptor
        with _beating:
            _held.add(self)
            if _beats_in != os.getpid():
                _beats_in = os.getpid()
                threading.Thread(target=_beat, name="tfscale-locks", daemon=True).start()

    def release(self) -> None:
        """Removes the file and gives the lock back."""
        with _beating:
            _held.discard(self)
        # Removed while it is locked: whoever waits for it finds that it has no name any more, and
        # makes a new one.
        with contextlib.suppress(OSError):
            os.remove(self.path)
        os.close(self.descriptor)

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def hold(path: str, watch_seconds: float = WATCH_SECONDS) -> Held | None:
    """Takes the lock at `path`; None where a living process holds it.

    Args:
        path: the lock's file; it is made where it is missing, and its folder must be there.
        watch_seconds: how long a file is watched that was left on another machine, or that cannot
            be locked.

    Raises:
        OSError: the file cannot be made.

    Example:
        with hold("run/trainer.lock") or refuse():
            train()
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        locked = try_lock(descriptor)
        if locked is False:
            os.close(descriptor)
            return None
        if not is_at(descriptor, path):
            os.close(descriptor)  # Its holder removed it just now.
            continue
        holder = read_holder(path)
        if (
            holder
            and (locked is None or holder.get("machine") != machine())
            and _is_touched(path, watch_seconds)
        ):
            os.close(descriptor)
            return None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _describe().encode(), 0)
        return Held(path, descriptor)


def try_lock(descriptor: int) -> bool | None:
    """Locks an open file without waiting.

    False: another process has it locked; None: it cannot be locked here.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        return False if error.errno in _BUSY else None


def is_at(descriptor: int, path: str) -> bool:
    """Returns whether an open file is still the one that has the name `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def read_holder(path: str) -> JsonObject:
    """Returns what the holder of a lock wrote: `process`, `host` and `machine`.

    It is empty where nothing can be read.
    """
    try:
        with open(path, "rb") as file:
            content = parse_json(file.read(1000))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _describe() -> str:
    return to_json({"process": os.getpid(), "host": platform.node(), "machine": machine()})


def _is_touched(path: str, seconds: float) -> bool:
    """Returns whether the file's time changes while it is watched."""
    before, deadline = _touched(path), time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(min(1.0, seconds / 4))
        if _touched(path) != before:
            return True
    return False


def _touched(path: str) -> int | None:
    try:
        with open(path, "rb") as file:  # Opening is what makes a client of NFS ask the server.
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None


def _beat() -> None:
    global _beats_in
    while True:
        time.sleep(BEAT_SECONDS)
        with _beating:
            if not _held:
                _beats_in = None
                return
            for held in _held:
                with contextlib.suppress(OSError):
                    os.utime(held.path)
