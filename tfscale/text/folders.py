"""Folders that a reader takes as a whole, such as a data set that a library saved."""

from collections.abc import Sequence

from tfscale.registry import READERS
from tfscale.text.reader import Reader, TextFile


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
