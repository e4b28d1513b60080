"""Progress on stderr: a live bar on a terminal, a plain line every few seconds elsewhere (logs,
notebooks, CI)."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tfscale.terminal import print, visible

PLAIN_SECONDS = 10.0
"""Seconds between plain lines."""


class ProgressLine:
    """Shows how far a task is, with figures of the caller's beside it.

    Args:
        name: what is done, such as "train".
        total: units of the whole task; None where it is not known.
        start: units that were done before (a resumed run).
        enabled: False shows nothing.

    Example:
        with ProgressLine("train", total=1000) as progress:
            progress.update(20, "loss 3.21, 12,000 tokens/s")
    """

    def __init__(self, name: str, total: int | None, *, start: int = 0, enabled: bool = True):
        self.name, self.total, self.start, self.done = name, total, start, start
        self.enabled = enabled
        self._live: Progress | None = None
        if enabled and sys.stderr.isatty():
            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}", markup=False),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._live.add_task(name, total=total, completed=start, figures="")
        self._began = self._last = time.monotonic()

    def __enter__(self) -> "ProgressLine":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ):
        if self._live:
            self._live.stop()

    def update(self, done: int, figures: str = "") -> None:
        """Says that `done` units are done, with the figures to show beside them."""
        self.done = done
        if self._live:
            self._live.update(self._task, completed=done, figures=figures)
        elif self.enabled and (
            time.monotonic() - self._last >= PLAIN_SECONDS or done == self.total
        ):
            self._last = time.monotonic()
            self.note(
                f"{done:,}{f' of {self.total:,}' if self.total else ''},"
                f" {figures}{self._remaining()}"
            )

    def note(self, text: str) -> None:
        """Prints a line that stays, above the bar."""
        if self._live:
            self._live.console.print(visible(f"{self.name}: {text}"), highlight=False, markup=False)
        elif self.enabled:
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def _remaining(self) -> str:
        if not self.total or self.done <= self.start or self.done >= self.total:
            return ""
        per_unit = (time.monotonic() - self._began) / (self.done - self.start)
        minutes, seconds = divmod(round(per_unit * (self.total - self.done)), 60)
        return f", ETA {minutes}:{seconds:02d}"
