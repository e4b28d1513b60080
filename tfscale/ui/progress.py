"""Progress on stderr: a live bar on a terminal, plain lines elsewhere (logs, notebooks, CI)."""

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from tfscale.terminal import print, visible

if TYPE_CHECKING:
    # Imported where there is a terminal to draw on.
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")
_SECONDS_BETWEEN_DRAWINGS = 0.1


class ProgressLine:
    """Shows how far a task is, with figures of the caller's beside it; use as a context.

    Args:
        name: what is done, such as "train".
        total: units of the whole task; None where it is not known. It may be set anew.
        start: units that were done before (a resumed run).
        enabled: False shows nothing.

    Example:
        with ProgressLine("train", total=1000) as progress:
            progress.stage("compiling the train step")
            progress.update(20, "loss 3.21, 12,000 tokens/s")
    """

    seconds_between_lines: ClassVar[float] = 10.0

    def __init__(self, name: str, total: int | None, *, start: int = 0, enabled: bool = True):
        self.name, self.total, self.start, self.done = name, total, start, start
        self.enabled = enabled
        self._live: Progress | None = None
        if enabled and sys.stderr.isatty():
            import rich.console
            import rich.progress

            console = rich.console.Console(stderr=True)
            self._live = rich.progress.Progress(*self._columns(), console=console)
            self._task = self._live.add_task(name, total=total, completed=start, figures="")
        self._stage: _Stage | None = None
        self._timed_from: tuple[int, float] | None = None
        """Units that were done at the first update, and its time; before it work is prepared."""
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def stage(self, name: str) -> None:
        """Says what is done before the first unit, with its seconds beside the bar on a terminal.

        Args:
            name: what it is, such as "compiling the train step".
        """
        self._stage = _Stage(name)
        if self._live:
            self._live.update(self._task, figures=self._stage)
        else:
            self.note(f"{name} ...")

    def update(self, done: int, figures: str = "") -> None:
        """Says that `done` units are done, with the figures to show beside them."""
        self.done = done
        stage, self._stage = self._stage, None
        if stage is not None:
            self.note(f"{stage.name} and the first {done - self.start:,}: {stage.seconds:.0f} s")
        if self._live:
            self._live.update(self._task, completed=done, total=self.total, figures=figures)
        elif self.enabled and (
            stage is not None or self._is_due(self.seconds_between_lines) or done == self.total
        ):
            self._last = time.monotonic()
            of_total = f" of {self.total:,}" if self.total else ""
            self.note(f"{done:,}{of_total}, {figures}{self._remaining()}")
        self._timed_from = self._timed_from or (done, time.monotonic())

    def note(self, text: str) -> None:
        """Prints a line that stays, above the bar."""
        if self._live:
            self._live.console.print(visible(f"{self.name}: {text}"), highlight=False, markup=False)
        elif self.enabled:
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def _columns(self) -> "list[ProgressColumn]":
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        return [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        ]

    def _is_due(self, seconds: float) -> bool:
        return time.monotonic() - self._last >= seconds

    def _remaining(self) -> str:
        if not self.total or self._timed_from is None:
            return ""
        first, began = self._timed_from
        if not first < self.done < self.total:
            return ""
        per_unit = (time.monotonic() - began) / (self.done - first)
        minutes, seconds = divmod(round(per_unit * (self.total - self.done)), 60)
        return f", ETA {minutes}:{seconds:02d}"


class _Stage:
    """A stage of the work in words, with the seconds since it began."""

    def __init__(self, name: str):
        self.name, self._began = name, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def __str__(self) -> str:
        return f"{self.name}: {self.seconds:.0f} s"


class TextProgress(ProgressLine):
    """Counts the documents, tokens and bytes of a pass over text.

    Args:
        name: what is done, such as "tokenizing".
        total: bytes of the whole pass, as far as is known; 0 shows no share and no remaining time.
        enabled: False shows nothing.

    Example:
        with TextProgress("tokenizing", total=10**9) as progress:
            progress.add(documents=20, tokens=9000, size=40_000)
    """

    seconds_between_lines = 5.0

    def __init__(self, name: str, total: int = 0, *, enabled: bool = True):
        super().__init__(name, total or None, enabled=enabled)
        self.documents = self.tokens = self.size = 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._show()
        super().__exit__(kind, error, trace)

    def add(self, *, documents: int = 0, tokens: int = 0, size: int = 0) -> None:
        """Adds what has been done since the last call; `size` in bytes."""
        self.documents += documents
        self.tokens += tokens
        self.size += size
        seconds = _SECONDS_BETWEEN_DRAWINGS if self._live else self.seconds_between_lines
        if self.enabled and self._is_due(seconds):
            self._show()

    def counted(self, batches: Iterable[list[T]]) -> Iterator[list[T]]:
        """Returns batches of documents as they are, and counts the documents."""
        for batch in batches:
            self.add(documents=len(batch))
            yield batch

    def summary(self) -> str:
        """Returns documents, tokens per second and the time that is left, in words."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        parts = [f"{self.documents:,} documents", f"{self.size / 1e6:,.1f} MB"]
        if self.tokens:
            parts.append(f"{self.tokens / seconds:,.0f} tokens/s")
        if self.total and 0 < self.size < self.total:
            parts.append(f"{_clock(seconds * (self.total - self.size) / self.size)} left")
        else:
            parts.append(_clock(seconds))
        return ", ".join(parts)

    def _columns(self) -> "list[ProgressColumn]":
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn

        return [
            TextColumn("{task.description:<12}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
        ]

    def _show(self) -> None:
        self._last = time.monotonic()
        if self._live:
            self._live.update(self._task, completed=self.size, figures=self.summary())
        else:
            has_share = self.total and 0 < self.size < self.total
            share = f"{100 * self.size / self.total:.0f} %, " if self.total and has_share else ""
            self.note(share + self.summary())


def _clock(seconds: float) -> str:
    """Returns a time as 0:07 or 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{seconds:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
