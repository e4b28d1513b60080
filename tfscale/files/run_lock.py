"""One process at a time trains into a folder."""

import contextlib
import os
from collections.abc import Iterator

from tfscale.errors import ConfigError
from tfscale.files.folders import RUN_LOCK
from tfscale.files.locks import hold, read_holder
from tfscale.files.paths import is_remote
from tfscale.files.write_errors import write_errors


@contextlib.contextmanager
def only_writer(folder: str, what: str = "trained") -> Iterator[None]:
    """Keeps other processes from writing to a folder during the block.

    Also those of other containers and machines.

    The lock ends with the process, however that ends; see `tfscale.files.locks`. A remote folder
    (gs://) has none.

    Args:
        folder: is made if it is missing.
        what: is done to it, for the error.

    Raises:
        ConfigError: another process is at it; names that.
        TfscaleError: the folder cannot be made or written.

    Example:
        with only_writer("run"):
            model.fit(dataset)
    """
    if is_remote(folder):
        yield
        return
    path, is_new = os.path.join(folder, RUN_LOCK), not os.path.isdir(folder)
    with write_errors(folder):
        os.makedirs(folder, exist_ok=True)
        held = hold(path)
    if held is None:
        holder = read_holder(path)
        raise ConfigError(
            f"{folder} is being {what} by process {holder.get('process', '?')} on"
            f" {holder.get('host', '?')}; wait until that has ended, or give another --output"
        )
    try:
        with held:
            yield
    finally:
        if is_new:  # A mistake that shows in the block leaves no empty folder.
            with contextlib.suppress(OSError):
                os.rmdir(folder)
