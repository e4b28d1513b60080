"""Temporary folders of a computation, and the error where a disk has no space for them."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from tfscale.errors import TfscaleError
from tfscale.files.paths import is_remote
from tfscale.files.temporary import temporary_folder
from tfscale.files.write_errors import NO_SPACE


@contextlib.contextmanager
def scratch_folder(prefix: str, beside: str = "") -> Iterator[str]:
    """Yields a folder that is removed at the end.

    Args:
        prefix: of its name in the system's temporary folder.
        beside: a local output, beside which it lies instead: where the result fits,
            what it is made of fits as a rule. One that a killed process leaves is
            found with that output's leftovers.

    Raises:
        TfscaleError: the disk is full; see `scratch_writes`, which what is written there needs.

    Example:
        with scratch_folder("tfscale-ngram-", beside="run") as folder:
            with scratch_writes(beside="run"):
                array.tofile(f"{folder}/array")
    """
    made: contextlib.AbstractContextManager[str] = (
        temporary_folder(os.path.abspath(beside))
        if _lies_beside(beside)
        else tempfile.TemporaryDirectory(prefix=prefix)
    )
    with contextlib.ExitStack() as stack:
        with scratch_writes(beside):
            folder = stack.enter_context(made)
        yield folder


@contextlib.contextmanager
def scratch_writes(beside: str = "") -> Iterator[None]:
    """Says of a full disk in the block that it is that of the temporary files.

    The block writes them and nothing else: another file, such as one of the caller's, may lie on
    another disk.

    Args:
        beside: as for `scratch_folder`.

    Raises:
        TfscaleError: the disk is full; names the folder, and how to have it elsewhere.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        where = tempfile.gettempdir()
        hint = "make room there, or name another folder by the variable TMPDIR"
        if _lies_beside(beside):
            where = os.path.dirname(os.path.abspath(beside))
            hint = "make room there, or give another --output"
        raise TfscaleError(f"no space left for temporary files in {where}; {hint}") from error


def _lies_beside(output: str) -> bool:
    return bool(output) and not is_remote(output)


def _is_full(error: Exception) -> bool:
    """Returns whether an error says that a disk is full, in the system's or TensorFlow's words."""
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    tensorflow = sys.modules.get("tensorflow")
    return (
        tensorflow is not None
        and isinstance(error, tensorflow.errors.OpError)
        and "No space left" in str(error)
    )
