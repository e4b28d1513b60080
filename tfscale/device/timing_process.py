"""Times an exported file in a process of its own, which holds nothing else in memory.

    python -m tfscale.device.timing_process EXPORT_DIR REPEATS

The last line of stdout is what `DeviceModel.benchmark` returns, as JSON.
"""

import sys

from tfscale.device.loading import load
from tfscale.files.json_text import to_json


def main(path: str, repeats: int) -> None:
    """Prints the figures of a file of a model of the next token."""
    print(to_json(load(path).benchmark(repeats=repeats)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
