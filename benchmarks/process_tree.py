"""The time and the peak memory of a command with all the processes that it starts."""

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.rounds import ROOT, BenchmarkError

BETWEEN = 0.1
"""Seconds between two looks at the processes."""
MEASURE = "PSS" if sys.platform == "linux" else "RSS"
"""What is summed over the processes. Where several share a page, the proportional set size (PSS)
counts it once in all, the resident set size once for each."""
_STDERR_BYTES = 2000


class Watched(NamedTuple):
    """What a command took.

    Attributes:
        wall_seconds: by the clock.
        cpu_seconds: processor time of all processes, user and system.
        peak_bytes: the largest sum of the memory of all processes at one time.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def watch(command: Sequence[str], log: Path) -> Watched:
    """Runs a command to its end.

    Args:
        command: the command; its output is thrown away.
        log: file for its stderr.

    Raises:
        BenchmarkError: it failed; the message ends with the last lines that it wrote to stderr.
    """
    began, before = time.perf_counter(), _children_seconds()
    peak = 0
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr)
        while process.poll() is None:
            peak = max(peak, tree_bytes(process.pid))
            time.sleep(BETWEEN)
    if process.returncode:
        tail = log.read_bytes()[-_STDERR_BYTES:].decode(errors="replace")
        raise BenchmarkError(
            f"{' '.join(command)} ended with exit code {process.returncode}:\n{tail}"
        )
    return Watched(time.perf_counter() - began, _children_seconds() - before, peak)


def tree_bytes(pid: int) -> int:
    """Returns the memory of a process and of those below it, now; 0 if it has ended."""
    try:
        root = psutil.Process(pid)
        return sum(map(_bytes, [root, *root.children(recursive=True)]))
    except psutil.NoSuchProcess:
        return 0


def _bytes(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss if MEASURE == "PSS" else process.memory_info().rss
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # It has just ended.
        return 0


def _children_seconds() -> float:
    """Returns the processor time of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
