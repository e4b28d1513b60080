"""Errors of the operating system about a place to write, as one line for the user."""

import contextlib
import errno
from collections.abc import Iterator

from tfscale.errors import TfscaleError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (
    *NO_SPACE,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EIO,
    errno.ENOTEMPTY,
    errno.EBUSY,
    errno.ENXIO,
    errno.ENODEV,
)
"""Inside of a block that writes, anything else is a mistake of the program, whose traceback is
needed."""


def write_error(
    path: str, error: OSError, kept: str = "what was there before is unchanged"
) -> TfscaleError:
    """Returns the error of a file or folder that could not be written.

    `kept` is said of a full disk.
    """
    if error.errno in NO_SPACE:
        return TfscaleError(f"no space left while writing {path}; {kept}")
    return TfscaleError(f"cannot write {path}: {error.strerror or error}")


@contextlib.contextmanager
def write_errors(path: str) -> Iterator[None]:
    """Turns errors of the operating system in the block into that of `write_error`.

    The block only writes `path`.
    """
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error
