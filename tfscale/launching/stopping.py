"""Signals that ask a launcher to stop its workers."""

import signal
import threading
import types

from tfscale.launching.interruption import ENDING, Handler, wanted


class StopSignals:
    """Counts SIGTERM, SIGHUP (a closed terminal) and Ctrl-C within the block."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.count = 0
        self._handlers: dict[int, Handler] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in filter(wanted, (signal.SIGINT, *ENDING)):
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        self.number = self.number or number
        self.count += 1
