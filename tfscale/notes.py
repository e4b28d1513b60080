"""Lines on stderr about what the reader of a result has to know."""

import sys

from tfscale.terminal import print


def note(text: str) -> None:
    """Writes one line to stderr."""
    print(f"note: {text}", file=sys.stderr, flush=True)
