"""Ends a worker with its launcher, whatever ends that: no orphan keeps a port or trains on."""

import ctypes
import os
import signal
import sys
import threading
import time

VARIABLE = "TFSCALE_LAUNCHER"
"""Environment variable with the launcher's process number; without it a process is on its own."""
_PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>: the signal that the kernel sends when the parent dies."""


def follow_launcher() -> None:
    """Makes the end of the launcher the end of this process, even if it is killed by SIGKILL."""
    if VARIABLE not in os.environ:
        return
    launcher = int(os.environ.pop(VARIABLE))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(launcher,), daemon=True).start()
    if os.getppid() != launcher:  # It was gone before the kernel was asked.
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
