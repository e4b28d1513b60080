"""Signals that end a command as Ctrl-C does, so that temporary files and locks are removed."""

import contextlib
import signal
import threading
import types
from collections.abc import Callable, Iterator
from typing import TypeAlias

ENDING = tuple(
    number for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)) if number is not None
)
"""Signals by which systems end a process; the second one comes when a terminal is closed."""
Handler: TypeAlias = Callable[[int, types.FrameType | None], object] | int | None
"""The type of what `signal.getsignal` returns."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP as an exception; the exit code is 128 + the signal's number."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def wanted(number: int) -> bool:
    """Returns whether a signal is to end a process: `nohup` has SIGHUP ignored."""
    return signal.getsignal(number) != signal.SIG_IGN


@contextlib.contextmanager
def left_by_signals() -> Iterator[None]:
    """Raises `Terminated` in the block when SIGTERM or SIGHUP comes; the first one counts.

    As with Ctrl-C, a library that computes without Python is waited for. Training, which writes a
    checkpoint first, has handlers of its own (`RunRecorder`).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, _leave) for number in ENDING if wanted(number)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Has Ctrl-C, SIGTERM and SIGHUP that come in the block take effect at its end.

    For a short block that puts back what another one changed. Signals reach the main thread alone.

    Example:
        with signals_wait():
            put_back(weights)
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    earlier = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in filter(wanted, (signal.SIGINT, *ENDING))
    }
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    for number in came[:1]:
        signal.raise_signal(number)


class StopRequest:
    """Notes Ctrl-C, SIGTERM and SIGHUP within the block; a second one ends the process.

    It is a context manager.

    Args:
        note: is called with a line when the first one comes.

    Example:
        with StopRequest(print) as request:
            while request.signal is None:
                work()
    """

    def __init__(self, note: Callable[[str], None]):
        self.note = note
        self.signal: str | None = None
        """Name of the signal that came."""
        self._earlier: dict[int, Handler] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in filter(wanted, (signal.SIGINT, *ENDING)):
                self._earlier[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}

    def _request(self, number: int, frame: types.FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        signal.signal(number, self._earlier[number])
        self.note(
            f"{self.signal} received: writing a checkpoint after the steps in progress, then"
            " stopping"
        )


def _leave(number: int, frame: types.FrameType | None) -> None:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise Terminated(number)
