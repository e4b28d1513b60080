"""The interface of readers: a format of files, read as documents or as rows with fields."""

import abc
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, ClassVar, Literal

from tfscale.errors import DataError
from tfscale.registry import READERS
from tfscale.text.opening import open_text

DocumentKind = Literal["file", "paragraph", "line"]
InvalidUtf8 = Literal["error", "replace", "skip"]

HEAD = 1 << 16
"""Bytes of a file's beginning that tell its format."""


@dataclass
class ReadCounts:
    """Counts of what happened while reading; the manifest keeps them."""

    files: int = 0
    """Files read."""
    empty: int = 0
    """Files without any text (file documents), which give no document."""
    skipped_files: int = 0
    """Files left out because they are not UTF-8 (invalid_utf8="skip")."""
    replaced_characters: int = 0
    """U+FFFD put instead of bytes that are not UTF-8 (invalid_utf8="replace")."""


@dataclass(frozen=True)
class Reading:
    """How documents are read.

    Attributes:
        documents: what one document is, in a format that has no documents of its own.
        invalid_utf8: what to do with bytes that are not UTF-8: "error", "replace" (by U+FFFD) or
            "skip" (the file).
        counts: a reader adds to it what it skips or replaces; `files` is counted by the caller.
    """

    documents: DocumentKind = "file"
    invalid_utf8: InvalidUtf8 = "error"
    counts: ReadCounts = field(default_factory=ReadCounts)


@dataclass(frozen=True)
class TextFile:
    """One text to read.

    Attributes:
        name: its path, local or remote; or its name in a built-in corpus.
        size: bytes as stored, for the progress display; compressed bytes where the file is gzip.
        text: reads a text that is not a UTF-8 file of its own; None for files.
    """

    name: str
    size: int = 0
    text: Callable[[], str] | None = None

    def open(self, notes: bool = True) -> AbstractContextManager[IO[bytes]]:
        """Opens the file for reading, uncompressed; see `tfscale.text.opening.open_text`."""
        return open_text(self.name, notes)

    def head(self) -> bytes:
        """Returns the first `HEAD` bytes, uncompressed."""
        with self.open(notes=False) as stream:
            return stream.read(HEAD)


@dataclass(frozen=True)
class Row:
    """A record with fields, such as a line of JSONL.

    Attributes:
        place: where it is in its file, for messages: "line 3".
        fields: name -> value.
    """

    place: str
    fields: Mapping[str, object]


class Reader(abc.ABC):
    """A format of files that hold text.

    A format is a subclass in a file of its own, registered by `tfscale.register`. It defines
    `documents`, and `rows` if its records have fields. Files are read as streams, so that they may
    be larger than memory.

    Attributes:
        name: the name of the format.
        suffixes: endings of file names, in lower case; a further `.gz` does not count.
        magic: first bytes of such a file, whatever its name.
        has_rows: whether `rows` reads it.
        row_fields: names of fields that all rows have; empty where the file names them.

    Example:
        @tfscale.register
        class Subtitles(tfscale.Reader):
            name, suffixes = "subtitles", (".srt",)

            def documents(self, file, reading):
                with file.open() as stream:
                    yield from ...
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    magic: ClassVar[tuple[bytes, ...]] = ()
    has_rows: ClassVar[bool] = False
    row_fields: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the format known by its name; `tfscale.register` calls it."""
        READERS.add(getattr(cls, "name", ""), cls)

    @abc.abstractmethod
    def documents(self, file: TextFile, reading: Reading) -> Iterator[str]:
        """Reads the documents of a file, in order.

        Args:
            file: the file; `file.open()` gives its bytes, `file.name` its path.
            reading: what a document is, and where to count.

        Raises:
            DataError: the file cannot be read; the message names it and the place in it.
        """

    def rows(self, file: TextFile, labelled: bool = True) -> Iterator[Row]:
        """Reads the records of a file, in order.

        Args:
            file: the file.
            labelled: whether labels are needed; False reads what is to be predicted.

        Raises:
            DataError: the file cannot be read, or has no fields; the message names file and place.
        """
        raise DataError(f"{file.name}: examples are read from {row_suffixes()} files")


def reader_by_suffix(name: str) -> Reader | None:
    """Returns the reader that takes files of this name; None if there is none.

    Of two readers of a suffix the one that was registered last is taken.
    """
    plain = name.lower().removesuffix(".gz")
    readers = (reader for reader in reversed(list(READERS)) if plain.endswith(reader.suffixes))
    return next((reader() for reader in readers), None)


def reader_of(file: TextFile) -> Reader:
    """Returns the reader of a file, by its suffix or its first bytes; of plain text if none fits.

    Raises:
        DataError: the file cannot be read.
    """
    if reader := reader_by_suffix(file.name):
        return reader
    if by_magic := [reader for reader in READERS if reader.magic]:
        head = file.head()
        for reader_class in by_magic:
            if head.startswith(reader_class.magic):
                return reader_class()
    return READERS.get("text")()


def row_suffixes() -> str:
    """Returns the suffixes of files that have rows, in words: ".csv, .jsonl and .tsv"."""
    *others, last = [reader.suffixes[0] for reader in READERS if reader.has_rows]
    return f"{', '.join(others)} and {last}"
