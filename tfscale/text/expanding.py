"""Finds the files in archives, and opens them."""

import contextlib
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

from tfscale.errors import DataError
from tfscale.files.paths import is_remote
from tfscale.terminal import note
from tfscale.text.archive import Archive, Entry, archive_kind, archive_named, shown_name
from tfscale.text.compression import plain_name
from tfscale.text.opening import (
    CheckedStream,
    errors_of,
    most_bytes,
    open_text,
    too_large,
    unpacked_copy,
)

_HEAD = 512


class OpenArchive:
    """An archive that is opened when the first of its files is, and closed with its last user.

    Args:
        path: the archive's path.
        kind: its class.
    """

    def __init__(self, path: str, kind: type[Archive]):
        self.path, self.kind = path, kind
        self._archive: Archive | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens the archive for itself.
        return {**vars(self), "_archive": None}

    def archive(self) -> Archive:
        """Returns the archive, opened.

        Raises:
            DataError: it is damaged or cannot be read.
        """
        if self._archive is None:
            with ExitStack() as stack:
                stream = stack.enter_context(open_text(self.path))
                if not stream.seekable():
                    stream = stack.enter_context(unpacked_copy(stream))
                with self.errors():
                    self._archive = self.kind(stream)
                weakref.finalize(self, stack.pop_all().close)
        return self._archive

    @property
    def damaged(self) -> str:
        """Returns the message about damaged bytes."""
        return f"{self.path} is a damaged {self.kind.what} archive"

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turns what the library raises for a damaged archive into one line that names it."""
        errors: tuple[type[Exception], ...] = (EOFError, OSError, *self.kind.errors)
        try:
            yield
        except errors as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise DataError(f"{self.damaged} ({error})") from error


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    archive: OpenArchive
    entry: Entry

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Opens its bytes as the archive unpacks them.

        Raises:
            DataError: the archive is damaged.
        """
        opened, path = self.archive, f"{self.archive.path}/{self.entry.name}"
        with errors_of(opened.path):
            with opened.errors():
                stream = opened.archive().open(self.entry)
            with contextlib.closing(stream):
                damaged = f"{opened.damaged}: {self.entry.name}"
                yield CheckedStream(path, stream, damaged, opened.kind.errors).buffered()


def archive_at(path: str) -> type[Archive] | None:
    """Returns the kind of archive that a file is; None if it is none.

    The first bytes of a local file tell; a remote file is looked into only if its name is that of
    an archive, since each look takes a while.

    Raises:
        DataError: the file cannot be read.
    """
    if is_remote(path) and not archive_named(plain_name(path)):
        return None
    with open_text(path, notes=False) as stream:
        return archive_kind(stream.read(_HEAD))


def members_of(path: str, kind: type[Archive], stored: int) -> list[tuple[str, int, Member]]:
    """Lists the files of an archive that are not hidden, in the order of their names.

    Of several files of one name the last is taken, as when an archive is unpacked.

    Args:
        path: the archive.
        kind: its class.
        stored: its bytes.

    Returns:
        The name that messages show ("a.zip/inner/b.txt"), the size as stored, and the file.

    Raises:
        DataError: the archive is damaged, encrypted, or holds more than its size allows.
    """
    opened = OpenArchive(path, kind)
    files: dict[str, Entry] = {}
    with errors_of(path):
        archive = opened.archive()
        with opened.errors():
            try:
                entries = list(archive.entries())
            except DataError as error:
                raise DataError(f"{path} {error}") from error
    unpacked = sum(entry.size for entry in entries)
    if unpacked > most_bytes(stored):
        raise too_large(path, stored)
    for entry in entries:
        if entry.encrypted:
            raise DataError(f"{path} is encrypted; unpack it yourself")
        if name := shown_name(entry.name):
            files[name] = entry
    if archive.passed_over:
        note(f"{path} has {archive.passed_over} links or devices, which are passed over")
    # A tar that is packed as a whole is smaller than what it holds.
    share = min(1.0, stored / max(1, sum(entry.packed for entry in entries)))
    return [
        (f"{path}/{name}", round(share * entry.packed), Member(opened, entry))
        for name, entry in sorted(files.items())
    ]
