"""Where text comes from: files, folders, globs, local or remote, plain or gzip; cut into documents
as it is read."""

import codecs
import contextlib
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

from tfscale.errors import DataError
from tfscale.files.paths import is_remote, open_file
from tfscale.terminal import note
from tfscale.text.file_systems import LocalFiles, RemoteFiles
from tfscale.text.formats import HEAD, iconv, refusal

DocumentKind = Literal["file", "paragraph", "line"]
InvalidUtf8 = Literal["error", "replace", "skip"]

_GZIP_MAGIC = b"\x1f\x8b"
_MARK = "\ufeff"
"""A byte order mark, which says that a file is UTF-8 and is no part of its text."""


@dataclass
class ReadCounts:
    """What was met while reading: kept in the manifest, so that nothing is lost in silence."""

    files: int = 0
    """Files read."""
    empty: int = 0
    """Files without any text (file documents), which give no document."""
    skipped_files: int = 0
    """Files left out because they are not UTF-8 (invalid_utf8="skip")."""
    replaced_characters: int = 0
    """U+FFFD put in the place of bytes that are not UTF-8 (invalid_utf8="replace")."""


@dataclass(frozen=True)
class TextFile:
    """One text to read.

    Attributes:
        name: its path, or its name in a built-in corpus.
        size: bytes as stored, for the progress display; compressed bytes where the file is gzip.
        text: reads a text that is not a UTF-8 file of its own; None for files.
    """

    name: str
    size: int
    text: Callable[[], str] | None = None


def find_text(paths: Sequence[str]) -> list[TextFile]:
    """The files that `paths` name: a file itself, all files of a folder, all matches of a glob.

    A folder is searched with its subfolders, in sorted order; hidden files and folders (`.name`)
    are left out. Links to folders are followed. A file that is named twice, by whatever spelling or
    link, is read once. What is no file but a pipe, a socket or a device is passed over with a note
    in a folder or glob.

    Args:
        paths: local paths or those of a remote file system (`gs://bucket/folder`).

    Raises:
        DataError: a path is missing, or a pipe, a socket or a device; a folder is empty, or a glob
            matches nothing.

    Example:
        find_text(["books/", "notes/*.txt.gz", "gs://bucket/wiki-*.txt"])
    """
    found: dict[str, TextFile] = {}
    for path in paths:
        system: Any = RemoteFiles() if is_remote(path) else LocalFiles()
        with _errors_of(path):
            for file in _find(system, path):
                found.setdefault(system.real(file), TextFile(file, system.size(file)))
    return list(found.values())


def _find(system: Any, path: str) -> list[str]:
    named = system.exists(path)
    if named:
        matches = [path]
    elif any(mark in path for mark in "*?["):
        matches = system.glob(path)
        if not matches:
            raise DataError(f"no file matches {path}")
    else:
        raise DataError(f"text file or folder does not exist: {path}")
    files: list[str] = []
    for match in matches:
        for file in system.walk(match) if system.is_folder(match) else [match]:
            if system.is_file(file):
                files.append(file)
            elif named and file == path:
                raise DataError(
                    f"{path} is a pipe, a socket or a device; write the text into a file and name"
                    " that"
                )
            else:
                note(f"{file} is a pipe, a socket or a device and is passed over")
    if not files:
        raise DataError(f"folder has no text files: {path}")
    return files


def read_documents(
    files: Sequence[TextFile],
    documents: DocumentKind,
    invalid_utf8: InvalidUtf8,
    counts: ReadCounts,
    on_file: Callable[[TextFile], None] = lambda file: None,
) -> Iterator[str]:
    """Reads the documents of `files`, in order.

    A "file" document is the whole text of a file, unchanged but for a byte order mark, which is
    left out. A "line" is what stands between line ends (LF or CRLF), a "paragraph" what stands
    between blank lines, without the line end that closes it; both are read as a stream, so that a
    file larger than memory is no matter. Documents of nothing but white space are left out, except
    that a file is left out only if it is empty.

    Args:
        files: what `find_text` or `tfscale.text.builtin.builtin_corpus` gave.
        documents: what one document is.
        invalid_utf8: what to do with bytes that are not UTF-8: "error", "replace" (by U+FFFD) or
            "skip" (the file).
        counts: is added to while reading.
        on_file: is called when a file has been read.

    Raises:
        DataError: a file cannot be read, or is not UTF-8; the message names the file and the byte's
            offset in its text. Or it is no plain text: packed, of records (JSONL, CSV), or in
            another encoding; see `tfscale.text.formats.refusal`.
    """
    for file in files:
        if file.text is not None:
            counts.files += 1
            yield from _cut(file.text(), documents, counts)
        elif documents == "file":
            yield from _whole_file(file.name, invalid_utf8, counts)
        else:
            yield from _streamed(file.name, documents, invalid_utf8, counts)
        on_file(file)


def _cut(text: str, documents: DocumentKind, counts: ReadCounts) -> Iterator[str]:
    if documents == "file":
        counts.empty += not text
        if text:
            yield text
    else:
        lines = io.StringIO(text, newline="\n")
        yield from _lines(lines) if documents == "line" else _paragraphs(lines)


def _whole_file(path: str, invalid_utf8: InvalidUtf8, counts: ReadCounts) -> Iterator[str]:
    with _open_text(path) as stream:
        content = stream.read()
    if _is_passed_over(path, content[:HEAD], invalid_utf8, counts):
        return
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        if invalid_utf8 == "error":
            raise _not_utf8(path, error, 0) from error
        if invalid_utf8 == "skip":
            counts.skipped_files += 1
            return
        text = _replaced(content, counts)
    counts.files += 1
    yield from _cut(text.removeprefix(_MARK), "file", counts)


def _is_passed_over(path: str, head: bytes, invalid_utf8: InvalidUtf8, counts: ReadCounts) -> bool:
    """Whether a file is to be skipped because of what its first bytes say that it is; raises if it
    is refused."""
    found = refusal(path, head)
    if found is None:
        return False
    if found.utf8 or invalid_utf8 != "skip":
        raise DataError(found.message)
    counts.skipped_files += 1
    return True


def _streamed(
    path: str,
    documents: Literal["paragraph", "line"],
    invalid_utf8: InvalidUtf8,
    counts: ReadCounts,
) -> Iterator[str]:
    with _open_text(path, notes=False) as stream:
        head = stream.read(HEAD)
    if _is_passed_over(path, head, invalid_utf8, counts):
        return
    # Whether a file is to be skipped must be known before its first document is given out.
    if invalid_utf8 == "skip" and not _is_utf8(path):
        counts.skipped_files += 1
        return
    counts.files += 1
    with _open_text(path) as stream:
        lines = _decoded_lines(path, stream, invalid_utf8, counts)
        yield from _lines(lines) if documents == "line" else _paragraphs(lines)


def _decoded_lines(
    path: str, stream: IO[bytes], invalid_utf8: InvalidUtf8, counts: ReadCounts
) -> Iterator[str]:
    offset = 0
    # No byte of a longer UTF-8 sequence is a line end, so lines can be decoded one by one.
    for line in stream:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            if invalid_utf8 != "replace":
                raise _not_utf8(path, error, offset) from error
            text = _replaced(line, counts)
        yield text if offset else text.removeprefix(_MARK)
        offset += len(line)


def _without_line_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _lines(lines: Any) -> Iterator[str]:
    return (_without_line_end(line) for line in lines if line.strip())


def _paragraphs(lines: Any) -> Iterator[str]:
    paragraph: list[str] = []
    for line in lines:
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield _without_line_end("".join(paragraph))
            paragraph = []
    if paragraph:
        yield _without_line_end("".join(paragraph))


def _is_utf8(path: str) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _open_text(path, notes=False) as stream:
        try:
            while block := stream.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _replaced(content: bytes, counts: ReadCounts) -> str:
    text = content.decode("utf-8", "replace")
    written = content.count("\ufffd".encode())
    counts.replaced_characters += text.count("\ufffd") - written
    return text


def _not_utf8(path: str, error: UnicodeDecodeError, offset: int) -> DataError:
    return DataError(
        f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset"
        f" {offset + error.start}; {iconv(path, 'LATIN1')} (or from GB18030, SHIFT_JIS, ...), or"
        " choose --invalid-utf8 replace or skip"
    )


@contextlib.contextmanager
def _open_text(path: str, notes: bool = True) -> Iterator[IO[bytes]]:
    """Opens a file, uncompressed; errors of reading name it. `notes` says what is passed over in
    it."""
    with _errors_of(path), open_file(path) as raw:
        head = raw.read(len(_GZIP_MAGIC))
        raw.seek(0)
        if head == _GZIP_MAGIC:
            with gzip.open(raw, "rb") as stream:
                yield cast(
                    IO[bytes],
                    io.BufferedReader(_GzipMembers(path, cast(gzip.GzipFile, stream), notes)),
                )
        else:
            yield raw


class _GzipMembers(io.RawIOBase):
    """The text of a gzip file, whose end is where no further member begins, as gzip(1) has it."""

    def __init__(self, path: str, stream: gzip.GzipFile, notes: bool):
        self._path, self._stream, self._notes, self._ended = path, stream, notes, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            # One member's bytes at a time, so that none are lost where the next turns out to be
            # none.
            content = b"" if self._ended else self._stream.read1(len(buffer))
        except gzip.BadGzipFile as error:
            if not str(error).startswith("Not a gzipped file"):
                raise
            content, self._ended = b"", True
            if self._notes:
                note(f"{self._path} has other bytes after its gzip data, which are passed over")
        buffer[: len(content)] = content
        return len(content)


@contextlib.contextmanager
def _errors_of(path: str) -> Iterator[None]:
    """Turns errors of the file system into one line that names the path."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file ({error})") from error
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read: {error.strerror or error}"
        ) from error
    except Exception as error:
        if is_remote(path):
            import tensorflow as tf

            if isinstance(error, tf.errors.OpError):
                raise DataError(f"{path} cannot be read: {error.message}") from error
        raise
