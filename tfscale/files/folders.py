"""Output folders: whether one may be written, and writing it so that no reader sees half of it."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from tfscale.errors import DataError, TfscaleError
from tfscale.files.paths import is_remote, read_json
from tfscale.files.temporary import put_in_place, remove_leftovers, temporary_folder
from tfscale.files.write_errors import REFUSED, write_error, write_errors
from tfscale.terminal import print

RUN_LOCK = "trainer.lock"
"""The lock of whoever trains into a folder; see `tfscale.files.locks`."""


def claim_directory(
    path: str,
    marker: str,
    what: str,
    *,
    key: str = "",
    without: Sequence[str] = (),
    remote: bool = False,
) -> None:
    """Checks that output may be written to `path`: it is absent, empty, or holds `marker`.

    Files of processes that were killed while they wrote, beside it and in it, are removed.

    Args:
        path: the output folder.
        marker: a file that shows the folder was made by the same command, such as "manifest.json".
        what: the name of such a folder for the error, such as "a data folder".
        key: a key of the marker, which is JSON then, where other programs have files of that name
            too.
        without: names that show that there is more in the folder than the command writes, which
            would be lost.
        remote: whether the command can write to a remote file system.

    Raises:
        DataError: the folder holds something else, is a file, is remote, or has no name.
    """
    if is_remote(path):
        if remote:
            return
        raise DataError(f"output {path} is remote; write to a local folder and copy it")
    if not path.strip():
        raise DataError(f"output is {path!r}; name a folder")
    if os.path.isfile(path):
        raise DataError(f"output {path} is a file; name a folder")
    clean_up(path)
    with write_errors(path):
        names = os.listdir(path) if os.path.isdir(path) else []
    remove_leftovers(path)
    # A marker that is only begun is that of a process which is at it now, which the lock names, or
    # of one that was killed there: the same command goes on.
    if all(name == RUN_LOCK or name.startswith(f"{marker}.tmp-") for name in names):
        return
    reason = "" if os.path.exists(os.path.join(path, marker)) else f"it has no {marker}"
    if not reason and key:
        content = read_json(
            os.path.join(path, marker), f"what would show that output folder {path} is {what}"
        )
        if not (isinstance(content, dict) and key in content):
            reason = f"its {marker} is another program's"
    if reason:
        raise DataError(
            f"output folder {path} exists and is not {what} ({reason}); name a new or empty folder"
        )
    for name in without:
        if os.path.exists(os.path.join(path, name)):
            raise DataError(
                f"output folder {path} holds {name}, which would be lost; name a new or empty"
                " folder, or remove it"
            )


def claim_page(path: str) -> None:
    """Checks that an HTML file may be written to `path`.

    Raises:
        DataError: it is a folder, or has another ending than .html.
    """
    _claim_file(path, ".html", "HTML file", "report.html")


def claim_array(path: str) -> None:
    """Checks that an array of NumPy may be written to `path`.

    Raises:
        DataError: it is a folder, or has another ending than .npy.
    """
    _claim_file(path, ".npy", "file of NumPy", "vectors.npy")


def _claim_file(path: str, ending: str, what: str, example: str) -> None:
    if not path.endswith(ending) or (not is_remote(path) and os.path.isdir(path)):
        raise DataError(f"output {path} is no {what}; name one such as {example}")


@contextlib.contextmanager
def atomic_directory(path: str) -> Iterator[str]:
    """Yields a temporary folder that becomes `path` when the block ends without an error.

    An earlier folder at `path` is replaced only then, at once where the system can (see
    `tfscale.files.temporary.put_in_place`); on an error the temporary folder is removed and `path`
    is left as it was.

    Raises:
        DataError: the path is remote; see `claim_directory`, which says so before anything is done.
        TfscaleError: the disk is full or the place cannot be written.
    """
    if is_remote(path):
        raise DataError(f"output {path} is remote; write to a local folder and copy it")
    # What a link leads to is replaced, and the link stays: it may lead to another disk.
    target = os.path.realpath(path)
    clean_up(target)
    with contextlib.ExitStack() as stack:
        with write_errors(path):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            temporary = stack.enter_context(temporary_folder(target))
        try:
            yield temporary
        except OSError as error:
            if error.errno in REFUSED:
                raise write_error(path, error) from error
            raise
        except TfscaleError as error:
            # The name of a folder that is gone helps nobody.
            if temporary in str(error):
                raise type(error)(str(error).replace(temporary, path)) from error
            raise
        with write_errors(path):
            put_in_place(temporary, target)


def clean_up(path: str) -> None:
    """Removes leftovers beside `path` of processes that were killed, and says so."""
    target = os.path.realpath(path)
    if removed := remove_leftovers(os.path.dirname(target), os.path.basename(target)):
        print(
            f"left behind by a process that was killed, removed: {', '.join(removed)}",
            file=sys.stderr,
            flush=True,
        )
