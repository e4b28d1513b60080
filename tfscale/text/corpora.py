"""Where text comes from: files, folders and globs, local or remote."""

import io
from collections.abc import Callable, Iterator, Sequence

from tfscale.errors import DataError
from tfscale.files.paths import is_remote
from tfscale.terminal import note
from tfscale.text.file_systems import FileSystem, LocalFiles, RemoteFiles
from tfscale.text.opening import errors_of
from tfscale.text.reader import (
    DocumentKind,
    InvalidUtf8,
    ReadCounts,
    Reading,
    TextFile,
    reader_of,
)
from tfscale.text.readers.text import cut_lines


def find_text(paths: Sequence[str]) -> list[TextFile]:
    """Finds the files that paths name: a file itself, all of a folder, all matches of a glob.

    A folder is searched with its subfolders, in sorted order; hidden files and folders (`.name`)
    are left out. Links to folders are followed. A file that is named twice, by whatever spelling or
    link, is read once. A pipe, a socket or a device in a folder or glob is passed over with a note.

    Args:
        paths: local paths or those of a remote file system (`gs://bucket/folder`).

    Raises:
        DataError: a path is missing, or a pipe, a socket or a device; a folder is empty, or a glob
            matches nothing.

    Example:
        find_text(["books/", "notes/*.txt.gz", "gs://bucket/wiki-*.txt"])
    """
    files: dict[str, TextFile] = {}
    for path in paths:
        system: FileSystem = RemoteFiles() if is_remote(path) else LocalFiles()
        with errors_of(path):
            for file in _find(system, path):
                files.setdefault(system.real(file), TextFile(file, system.size(file)))
    return list(files.values())


def _find(system: FileSystem, path: str) -> list[str]:
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
    """Reads the documents of files, in order, each by the reader of its format.

    Args:
        files: what `find_text` or `tfscale.text.builtin.builtin_corpus` gave.
        documents: what one document of plain text is; see `tfscale.text.readers.text`.
        invalid_utf8: what to do with bytes that are not UTF-8: "error", "replace" (by U+FFFD) or
            "skip" (the file).
        counts: is added to while reading.
        on_file: is called when a file has been read.

    Raises:
        DataError: a file cannot be read, or is not UTF-8; the message names the file and the byte's
            offset in its text. Or it is not plain text and has no reader: packed, of records
            (JSONL, CSV), or in another encoding; see `tfscale.text.formats.refusal`.
    """
    reading = Reading(documents, invalid_utf8, counts)
    for file in files:
        skipped = counts.skipped_files
        if file.text is None:
            yield from reader_of(file).documents(file, reading)
        else:
            text = file.text()
            counts.empty += documents == "file" and not text
            yield from cut_lines(io.StringIO(text, newline="\n"), documents)
        counts.files += counts.skipped_files == skipped
        on_file(file)
