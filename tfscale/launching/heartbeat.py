"""Heartbeats: a worker writes the step it has reached to a file that `tfscale launch` reads."""

import os
from dataclasses import dataclass

VARIABLE = "TFSCALE_HEARTBEAT"
"""Environment variable with the file's path. Without it nothing is written."""
NO_STEPS = -1
"""Stands for the step of a process that takes none by itself, such as a parameter server."""
RESUME_EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: stopped by a signal after writing a checkpoint; the same command goes
on."""


@dataclass(frozen=True)
class Heartbeat:
    """The last heartbeat of a worker: the step it had taken, and a mark that always differs."""

    step: int
    mark: int
    """When the file was written, by the machine's clock, which may jump: good to be compared for
    equality alone."""


def beat(step: int) -> None:
    """Says that this process is alive and has taken `step` steps.

    Example:
        beat(120)
    """
    if path := os.environ.get(VARIABLE):
        temporary = f"{path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(f"{step}\n")
        os.replace(temporary, path)


def read_heartbeat(path: str) -> Heartbeat | None:
    """Returns the last heartbeat in a file; None if there is none yet."""
    try:
        with open(path, encoding="utf-8") as file:
            return Heartbeat(int(file.read()), os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None
