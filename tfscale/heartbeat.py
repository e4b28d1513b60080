"""A worker's sign of life for `tfscale launch`: the step it has reached, in a file that the launcher watches."""

import os

VARIABLE = "TFSCALE_HEARTBEAT"
"""Environment variable with the file's path. Without it nothing is written."""


def beat(step: int) -> None:
    """Says that this process is alive and has taken `step` steps.

    Example:
        beat(120)
    """
    if path := os.environ.get(VARIABLE):
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{step}\n")
