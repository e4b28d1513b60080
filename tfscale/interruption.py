"""Signals that end a command: it is left as by Ctrl-C, so that temporary files go and locks are given back."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

ENDING = tuple(number for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)) if number is not None)
"""Signals by which systems end a process; the second one comes when a terminal is closed."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP, raised where the command stands; the shell's exit code for it is 128 + its number."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def wanted(number: int) -> bool:
    """Whether a signal is to end a process: `nohup` has SIGHUP ignored."""
    return signal.getsignal(number) != signal.SIG_IGN


@contextlib.contextmanager
def left_by_signals() -> Iterator[None]:
    """Raises `Terminated` in the block when SIGTERM or SIGHUP comes; the first one counts.

    As with Ctrl-C, a library that computes without Python is waited for. Training, which writes a checkpoint first, puts handlers of its own in the place of these (`RunRecorder`).
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


def _leave(number: int, frame: Any) -> None:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise Terminated(number)
