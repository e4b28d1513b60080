"""The interface of readers: a format of files, read as documents or as rows with fields."""

import abc
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import IO, ClassVar, Literal

from tfscale.errors import DataError
from tfscale.registry import READERS
from tfscale.text.compression import plain_name
from tfscale.text.expanding import Member
from tfscale.text.formats import HEAD, looks_like_json_lines
from tfscale.text.opening import open_text, unpacked_copy

DocumentKind = Literal["file", "paragraph", "line"]
InvalidUtf8 = Literal["error", "replace", "skip"]


@dataclass
class ReadCounts:
    """Counts of what happened while reading; the manifest keeps them."""

    files: int = 0
    """Files read."""
    empty: int = 0
    """Files and records without any text, which give no document."""
    skipped_files: int = 0
    """Files left out because they are not of their encoding (invalid_utf8="skip")."""
    skipped_records: int = 0
    """Pages of WARC files that were left out for the same reason."""
    replaced_characters: int = 0
    """U+FFFD put instead of bytes that are not of the encoding (invalid_utf8="replace")."""


@dataclass(frozen=True)
class Reading:
    """How documents are read.

    Attributes:
        documents: what one document is, in a format that has no documents of its own.
        invalid_utf8: what to do with bytes that are not of the encoding: "error", "replace" (by
            U+FFFD) or "skip" (the file).
        counts: a reader adds to it what it skips or replaces; `files` is counted by the caller.
        text_field: the field of a record that holds its text, with dots between the names of
            fields within fields.
        encoding: of text; a byte order mark goes before it.
        format: the name of the reader of all files; empty takes that of each file's format.
        quiet: whether notes on stderr are left out, as in a trial before the reading.
    """

    documents: DocumentKind = "file"
    invalid_utf8: InvalidUtf8 = "error"
    counts: ReadCounts = field(default_factory=ReadCounts)
    text_field: str = "text"
    encoding: str = "utf-8"
    format: str = ""
    quiet: bool = False

    def kept(self, texts: Iterable[str]) -> Iterator[str]:
        """Yields the texts of records that are not empty, and counts the others."""
        for text in texts:
            if text:
                yield text
            else:
                self.counts.empty += 1

    def trial(self) -> "Reading":
        """Returns how a file is looked into before it is read: nothing is counted or said."""
        return replace(self, invalid_utf8="replace", counts=ReadCounts(), quiet=True)


@dataclass(frozen=True)
class TextFile:
    """One text to read.

    Attributes:
        name: its path, local or remote; in an archive "ARCHIVE/PATH"; or its name in a built-in
            corpus.
        size: bytes as stored, packed if it is, for the progress display and as the measure of how
            much it may unpack to.
        text: reads a text that is not a file of its own; None for files.
        member: where it is in an archive, if it is in one.
        first: its first bytes, where they have been read already; see `looked_into`.
    """

    name: str
    size: int = 0
    text: Callable[[], str] | None = None
    member: Member | None = None
    first: bytes | None = field(default=None, compare=False, repr=False)

    def open(self, notes: bool = True) -> AbstractContextManager[IO[bytes]]:
        """Opens the file for reading, unpacked; see `tfscale.text.opening.open_text`."""
        if self.member is None:
            return open_text(self.name, notes)
        return open_text(self.name, notes, self.member.open, self.size)

    @contextlib.contextmanager
    def open_random(self) -> Iterator[IO[bytes]]:
        """Opens the file for reading at any place, by a temporary copy where it is packed."""
        at_any_place = self.member is None or self.member.archive.kind.random_access
        with self.open() as stream:
            if at_any_place and stream.seekable():
                yield stream
                return
            with unpacked_copy(stream) as copy:
                yield copy

    def head(self) -> bytes:
        """Returns the first `HEAD` bytes, unpacked."""
        if self.first is not None:
            return self.first
        with self.open(notes=False) as stream:
            return stream.read(HEAD)

    def looked_into(self) -> "TextFile":
        """Returns the file with its first bytes, so that it is not opened for each look at them."""
        return replace(self, first=self.head())


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
        suffixes: endings of file names, in lower case; a further `.gz` or `.zst` does not count.
        magic: first bytes of such a file, whatever its name.
        folder_marks: names of files by which a folder is known that this reader takes as a whole.
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
    folder_marks: ClassVar[tuple[str, ...]] = ()
    has_rows: ClassVar[bool] = False
    row_fields: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the format known by its name; `tfscale.register` calls it."""
        READERS.add(getattr(cls, "name", ""), cls)

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """Returns whether a file that begins so is of this format, whatever its name."""
        return bool(cls.magic) and head.startswith(cls.magic)

    @classmethod
    def takes(cls, plain: str) -> bool:
        """Returns whether a file's name, in lower case and without the endings of compressions, is
        that of this format."""
        return plain.endswith(cls.suffixes)

    @classmethod
    def files_of_folder(
        cls, folder: str, files: Mapping[str, TextFile]
    ) -> Sequence[TextFile] | None:
        """Returns the files with the texts of a folder that has one of `folder_marks`.

        Args:
            folder: its path.
            files: all files in it and below it, by their paths from there.

        Returns:
            The files, in order; None if the folder is of another kind after all.

        Raises:
            DataError: the folder is of this kind, and a file is missing or damaged.
        """
        return None

    def check(self, file: TextFile, reading: Reading) -> None:
        """Refuses a file that can be known to be unfit without reading all of it.

        It is called for all files before the first is read.

        Raises:
            DataError, ConfigError: as `documents` would.
        """
        return None

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
    plain = plain_name(name)
    readers = (reader for reader in reversed(list(READERS)) if reader.takes(plain))
    return next((reader() for reader in readers), None)


def reader_of(file: TextFile, reading: Reading | None = None) -> Reader:
    """Returns the reader of a file.

    That is the one which was asked for, or that knows the file's first bytes, or its suffix; of
    JSON lines if every line is an object and no suffix says otherwise; of plain text if none fits.

    Args:
        file: the file.
        reading: the format that was asked for, and the encoding.

    Raises:
        DataError: the file cannot be read.
    """
    reading = reading or Reading()
    if reading.format:
        chosen: Reader = READERS.get(reading.format)()
        return chosen
    head = file.head()
    if by_magic := next((reader for reader in READERS if reader.recognizes(head)), None):
        return by_magic()
    if reader := reader_by_suffix(file.name):
        return reader
    json_lines = looks_like_json_lines(file.name, head, reading.encoding, reading.text_field)
    plain: Reader = READERS.get("jsonl" if json_lines else "text")()
    return plain


def row_suffixes() -> str:
    """Returns the suffixes of files that have rows, in words: ".csv, .jsonl and .tsv"."""
    *others, last = [
        reader.suffixes[0] for reader in READERS if reader.has_rows and reader.suffixes
    ]
    return f"{', '.join(others)} and {last}"
