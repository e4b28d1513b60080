"""How far a long pass over text is: a live bar on a terminal, a line every few seconds elsewhere;
on stderr."""

import sys
import time
from typing import Any

from tfscale.terminal import print

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_DRAWINGS = 0.1


def _seconds(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
        if minutes >= 60
        else f"{minutes}:{seconds:02}"
    )


class Progress:
    """Counts documents, tokens and bytes of one stage; use as a context.

    Args:
        stage: what is being done, such as "tokenizing".
        total_bytes: bytes that the stage will go through, as far as is known; 0 shows no share and
            no remaining time.
        enabled: False shows nothing.

    Example:
        with Progress("tokenizing", total_bytes=10**9) as progress:
            progress.add(documents=20, tokens=9000, size=40_000)
    """

    def __init__(self, stage: str, total_bytes: int = 0, enabled: bool = True):
        self.stage = stage
        self.total_bytes = total_bytes
        self.documents = self.tokens = self.size = 0
        self._enabled = enabled
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        self._start = self._last_shown = time.monotonic()
        if self._enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn
            from rich.progress import Progress as RichProgress

            columns = (
                TextColumn("{task.description:<12}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[text]}", markup=False),
            )
            self._bar = RichProgress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self.stage, total=self.total_bytes or None, text="")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._enabled and kind is None:
            self._show()
        if self._bar is not None:
            self._bar.stop()

    def add(self, *, documents: int = 0, tokens: int = 0, size: int = 0) -> None:
        """Adds what has been done since the last call."""
        self.documents += documents
        self.tokens += tokens
        self.size += size
        if not self._enabled:
            return
        pause = _SECONDS_BETWEEN_LINES if self._bar is None else _SECONDS_BETWEEN_DRAWINGS
        if time.monotonic() - self._last_shown >= pause:
            self._last_shown = time.monotonic()
            self._show()

    def summary(self) -> str:
        """Documents, tokens per second and the time that is left, in words."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        parts = [f"{self.documents:,} documents", f"{self.size / 1e6:,.1f} MB"]
        if self.tokens:
            parts.append(f"{self.tokens / seconds:,.0f} tokens/s")
        if 0 < self.size < self.total_bytes:
            parts.append(f"{_seconds(seconds * (self.total_bytes - self.size) / self.size)} left")
        else:
            parts.append(_seconds(seconds))
        return ", ".join(parts)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self.size, text=self.summary())
            return
        share = (
            f"{100 * self.size / self.total_bytes:.0f} %, "
            if 0 < self.size < self.total_bytes
            else ""
        )
        print(f"{self.stage}: {share}{self.summary()}", file=sys.stderr, flush=True)
