"""Folders that a reader takes as a whole, such as a data set that a library saved."""

import re
from collections.abc import Iterable, Sequence

from tfscale.registry import READERS
from tfscale.terminal import note
from tfscale.text.reader import Reader, TextFile, reader_by_suffix

_SPLIT = re.compile(r"(?:^|[-_./])(train|valid|validation|val|dev|eval|test)(?=[-_./])")
"""The name of a split in that of a file, as in data/test-00000-of-00001.parquet."""


def files_of_folders(files: dict[str, TextFile]) -> dict[str, TextFile]:
    """Returns the files with the texts: in folders that a reader knows, those that it names.

    Args:
        files: what a search found, in order, by paths that are the same for all spellings.

    Raises:
        DataError: a folder of a known kind is incomplete or damaged.
    """
    marks: dict[str, type[Reader]] = {
        mark: reader for reader in READERS for mark in reader.folder_marks
    }
    marked: dict[str, type[Reader]] = {}
    for file in files.values():
        folder, _, name = file.name.rpartition("/")
        if name in marks:
            marked.setdefault(folder, marks[name])
    claimed: dict[str, Sequence[TextFile]] = {}
    for folder in sorted(marked):
        if any(folder.startswith(f"{above}/") for above in claimed):
            continue
        start = f"{folder}/"
        inside = {
            file.name[len(start) :]: file for file in files.values() if file.name.startswith(start)
        }
        chosen = marked[folder].files_of_folder(folder, inside)
        if chosen is not None:
            claimed[folder] = chosen
    if not claimed:
        return files
    reals = {file.name: real for real, file in files.items()}
    found: dict[str, TextFile] = {}
    for file in files.values():
        above = [folder for folder in claimed if file.name.startswith(f"{folder}/")]
        for chosen_file in claimed[above[0]] if above else [file]:
            found.setdefault(reals[chosen_file.name], chosen_file)
    return found


def note_splits(path: str, files: Iterable[TextFile]) -> None:
    """Says that files of a folder or glob are named like several splits, all of which are read.

    Data sets of the Hugging Face hub are folders of such files. Programs named so are no splits.

    Args:
        path: the folder or glob.
        files: what was found there.
    """
    fixed = re.split(r"[*?\[]", path, maxsplit=1)[0]
    above = len(path if fixed == path else fixed.rpartition("/")[0])
    named: dict[str, str] = {}
    for file in files:
        if reader_by_suffix(file.name) and (split := _SPLIT.findall(file.name[above:])):
            named.setdefault(split[-1], file.name)
    if "train" in named and len(named) > 1:
        examples = ", ".join(f"{split} ({name})" for split, name in named.items())
        note(f"{path} has files named like several splits, and all are read: {examples}")
