"""Runs each timed side in a fresh process of its own, one at a time and in turn, and keeps the best
of its rounds.

Other programs can only make a side slower, so the best round is the one that tells most about it;
taking turns lets a slow minute of the machine fall on all sides.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfscale.errors import TfscaleError

ROOT = Path(__file__).resolve().parent.parent
_STDERR_LINES = 15


class BenchmarkError(TfscaleError):
    """A side of a comparison that did not run to its end."""


def measure(module: str, *arguments: object) -> dict[str, Any]:
    """Runs `python -m benchmarks.MODULE ARGUMENTS` and returns the JSON object that is the last
    line of its stdout.

    Raises:
        BenchmarkError: it failed; the message ends with the last lines that it wrote to stderr.

    Example:
        measure("torch_side", "speed", "--data", "data.npz")["tokens_per_second"]
    """
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[-_STDERR_LINES:])
        raise BenchmarkError(
            f"{' '.join(command[1:])} ended with exit code {done.returncode}:\n{tail}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def best_rates(run: Callable[[], object], repeats: int, tokens: int) -> dict[str, float]:
    """Returns the best rates of a function that takes some steps, after a call that is not timed.

    Args:
        run: takes the steps.
        repeats: calls that are timed.
        tokens: that a call reads.

    Returns:
        `tokens_per_second` by the clock, and `tokens_per_cpu_second` by the processor's time.
    """
    run()
    walls, processor = [], []
    for _ in range(repeats):
        began, used = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    return {
        "tokens_per_second": tokens / min(walls),
        "tokens_per_cpu_second": tokens / min(processor),
    }


def in_turn(
    sides: Mapping[str, Sequence[object]],
    rounds: int,
    key: str,
    run: Callable[..., dict[str, Any]] = measure,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Runs all sides in turn, `rounds` times over, and returns the largest `key` of each.

    Args:
        sides: name -> module and arguments, as `measure` takes them.
        rounds: how often each side runs.
        key: of the results; more is better.
        run: what runs a side.
        note: is called with a line about each result.

    Example:
        sides = {"ours": ("keras_side", "ours"), "eager": ("torch_side", "speed")}
        in_turn(sides, 3, "tokens_per_second")
    """
    best: dict[str, float] = {}
    for number in range(rounds):
        for name, side in sides.items():
            value = float(run(*side)[key])
            note(
                f"round {number + 1} of {rounds}: {name} {value:,.0f}"
                f" {key.replace('_per_', '/').replace('_', ' ')}"
            )
            best[name] = max(best.get(name, value), value)
    return best
