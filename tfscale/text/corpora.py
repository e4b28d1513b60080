"""Where text comes from: files, folders and globs, local or remote."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from tfscale.errors import DataError
from tfscale.files.paths import is_remote
from tfscale.terminal import note
from tfscale.text.expanding import archive_at, members_of
from tfscale.text.file_systems import FileSystem, LocalFiles, RemoteFiles
from tfscale.text.folders import files_of_folders, note_splits
from tfscale.text.opening import errors_of
from tfscale.text.reader import Reading, TextFile, reader_of
from tfscale.text.readers.text import cut_text


def find_text(paths: Sequence[str]) -> list[TextFile]:
    """Finds the files that paths name: a file itself, all of a folder, all matches of a glob.

    A folder is searched with its subfolders, in sorted order; hidden files and folders (`.name`)
    are left out. Links to folders are followed. A file that is named twice, by whatever spelling or
    link, is read once. A pipe, a socket or a device in a folder or glob is passed over with a note.
    An archive is a folder of its files. A folder that a reader knows as a whole (`folder_marks`)
    has the files that the reader names.

    Args:
        paths: local paths or those of a remote file system (`gs://bucket/folder`).

    Raises:
        DataError: a path is missing, or a pipe, a socket or a device; a folder is empty, or a glob
            matches nothing; an archive is damaged.

    Example:
        find_text(["books/", "notes/*.txt.gz", "gs://bucket/wiki-*.txt"])
    """
    files: dict[str, TextFile] = {}
    for path in paths:
        system: FileSystem = RemoteFiles() if is_remote(path) else LocalFiles()
        with errors_of(path):
            found: dict[str, TextFile] = {}
            for file in _find(system, path):
                for real, text_file in _expanded(system, file):
                    found.setdefault(real, text_file)
            if list(found) != [system.real(path)]:
                found = files_of_folders(found)
                note_splits(path, found.values())
            for real, text_file in found.items():
                files.setdefault(real, text_file)
    return list(files.values())


def _expanded(system: FileSystem, path: str) -> Iterator[tuple[str, TextFile]]:
    """Yields a file, or those in an archive, each by a path that is the same for all spellings."""
    real = system.real(path)
    kind = archive_at(path)
    if kind is None:
        yield real, TextFile(path, system.size(path))
        return
    members = members_of(path, kind, system.size(path))
    if not members:
        raise DataError(f"{path} has no files that are not hidden")
    for name, size, member in members:
        yield real + name[len(path) :], TextFile(name, size, member=member)


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


def check_texts(files: Iterable[TextFile], reading: Reading) -> None:
    """Looks into files before the first is read, so that an unfit one is named at once.

    Says in a note how many files there are of each format, if they are of several.

    Raises:
        DataError, ConfigError: a file is refused by the reader of its format.
    """
    formats: Counter[str] = Counter()
    last: dict[str, str] = {}
    for file in (file for file in files if file.text is None):
        with errors_of(file.name):
            known = file.looked_into()
            reader = reader_of(known, reading)
            reader.check(known, reading)
        formats[reader.name] += 1
        last[reader.name] = file.name
    if len(formats) > 1:
        counted = (f"{count} {name} (such as {last[name]})" for name, count in formats.items())
        note(f"files of several formats: {', '.join(counted)}")


def read_documents(
    files: Iterable[TextFile],
    reading: Reading | None = None,
    on_file: Callable[[TextFile], None] = lambda file: None,
) -> Iterator[str]:
    """Reads the documents of files, in order, each by the reader of its format.

    Args:
        files: what `find_text` or `tfscale.text.builtin.builtin_corpus` gave.
        reading: what a document is, and how bytes become text; its counts are added to.
        on_file: is called when a file has been read.

    Raises:
        DataError: a file cannot be read, or is not of its encoding; the message names the file and
            the place in it. Or it is not plain text and has no reader, see
            `tfscale.text.formats.refusal`.

    Example:
        read_documents(find_text(["books/"]), Reading(documents="paragraph"))
    """
    # Documents of a line are many: no generator hands on each of them.
    return itertools.chain.from_iterable(_documents_of(files, reading or Reading(), on_file))


def _documents_of(
    files: Iterable[TextFile], reading: Reading, on_file: Callable[[TextFile], None]
) -> Iterator[Iterator[str]]:
    counts = reading.counts
    for file in files:
        skipped = counts.skipped_files
        if file.text is None:
            with errors_of(file.name):
                known = file.looked_into()
                reader = reader_of(known, reading)
            yield reader.documents(known, reading)
        else:
            text = file.text()
            counts.empty += reading.documents == "file" and not text
            yield cut_text([text], reading.documents)
        counts.files += counts.skipped_files == skipped
        on_file(file)
