"""The interface of archives: several files in one, each read as a file of its own."""

import abc
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, ClassVar

from tfscale.registry import ARCHIVES


@dataclass(frozen=True)
class Entry:
    """A file in an archive.

    Attributes:
        name: its path in the archive, with `/` between folders.
        size: its bytes, unpacked.
        packed: its bytes in the archive.
        handle: what the archive finds it by.
        encrypted: whether a password is needed.
    """

    name: str
    size: int
    packed: int
    handle: Any
    encrypted: bool = False


class Archive(abc.ABC):
    """A file that holds files.

    An archive is a subclass in a file of its own, registered by `tfscale.registry.register`. Files
    are read where they are, and nothing is unpacked to paths that an archive names.

    Args:
        stream: the archive's bytes, which can be read at any place.

    Attributes:
        name: the name of the kind.
        what: an archive of it in words, for messages: "zip".
        suffixes: endings of file names, in lower case.
        errors: what reading raises for damaged bytes, besides EOFError and OSError.
        random_access: whether a file in it can be read at any place without reading what is before.
        passed_over: links, devices and other things in it that hold no bytes; `entries` counts.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    errors: ClassVar[tuple[type[Exception], ...]] = ()
    random_access: ClassVar[bool] = False

    def __init__(self, stream: IO[bytes]):
        self.stream = stream
        self.passed_over = 0

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the kind known by its name; `tfscale.registry.register` calls it."""
        ARCHIVES.add(getattr(cls, "name", ""), cls)

    @classmethod
    @abc.abstractmethod
    def recognizes(cls, head: bytes) -> bool:
        """Returns whether a file that begins so, with 512 bytes or all that it has, is one."""

    @abc.abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Lists the regular files, in their order in the archive."""

    @abc.abstractmethod
    def open(self, entry: Entry) -> IO[bytes]:
        """Opens a file in the archive."""


def archive_kind(head: bytes) -> type[Archive] | None:
    """Returns the kind of archive that a file's first 512 bytes are of; None if of none."""
    return next((kind for kind in ARCHIVES if kind.recognizes(head)), None)


def archive_named(plain: str) -> bool:
    """Returns whether a name without endings of compressions, in lower case, is an archive's."""
    return any(plain.endswith(kind.suffixes) for kind in ARCHIVES)


def shown_name(name: str) -> str:
    """Returns the path of a file in an archive as messages have it; "" if it is hidden.

    Example:
        shown_name("./a/b.txt")           # "a/b.txt"
        shown_name("__MACOSX/._b.txt")    # ""
    """
    path = posixpath.normpath(name.replace("\\", "/")).lstrip("/")
    hidden = any(part.startswith(".") and part != ".." for part in path.split("/"))
    return "" if hidden else path
