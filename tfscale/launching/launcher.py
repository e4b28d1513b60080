"""`launch`: runs a command in worker processes and starts them again when one fails.

What was trained up to the last checkpoint is kept by `train` itself.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from tfscale.config.launching import LaunchConfig
from tfscale.errors import TfscaleError
from tfscale.launching.group import WorkerGroup
from tfscale.launching.heartbeat import RESUME_EXIT_CODE
from tfscale.launching.network import workers_network
from tfscale.launching.stopping import StopSignals
from tfscale.launching.worker import report


class LaunchError(TfscaleError):
    """The workers failed more often than they may."""

    exit_code = 1


@dataclass(frozen=True)
class Launched:
    """How a launch ended.

    Exit code 0, 75 (stopped, can go on) or 130 (Ctrl-C), the chief's stdout, and restarts.
    """

    exit_code: int
    stdout: str
    restarts: int


def launch(
    words: Sequence[str],
    config: LaunchConfig,
    program: Sequence[str] = (sys.executable, "-m", "tfscale.cli"),
) -> Launched:
    """Runs a `tfscale` command in `config.workers` processes until all have succeeded.

    Args:
        words: the command, such as ["train", "--data", "data", "--output", "run"].
        config: number of workers and parameter servers, deadlines and restarts.
        program: what stands before the words; by default this Python with tfscale.

    Returns:
        The chief's output and the exit code.

    Raises:
        ConfigError: a port is taken; or others could reach the workers' ports (see
            `workers_network`).
        TfscaleError: a worker ended with a mistake of the user's (exit code 2); its own words.
        LaunchError: more failures than `max_restarts`.

    Example:
        launch(["train", "--data", "data", "--output", "run", "--json"], LaunchConfig(workers=2))
    """
    failures = resumes = 0
    furthest = -1
    with (
        StopSignals() as stop,
        workers_network(config) as network,
        tempfile.TemporaryDirectory(prefix="tfscale-launch-") as folder,
    ):
        while True:
            attempt = os.path.join(folder, str(failures + resumes))
            allowed = config.max_restarts - failures
            group = WorkerGroup([*program, *words], config, attempt, allowed, network)
            outcome, reason = group.watch(stop)
            failures += group.replaced
            if outcome in ("done", "stopped"):
                code = 0
                if outcome == "stopped":
                    code = 130 if stop.number == signal.SIGINT else RESUME_EXIT_CODE
                stdout = group.processes[0].stdout.decode("utf-8", "replace")
                return Launched(code, stdout, failures + resumes)
            if outcome == "mistake":
                raise TfscaleError(reason)
            advanced = group.step > furthest
            furthest = max(furthest, group.step)
            if outcome == "resume" and advanced:
                resumes += 1
            else:
                failures += 1
            if failures > config.max_restarts:
                raise LaunchError(
                    f"{reason}; that was failure {failures}, and --max-restarts is"
                    f" {config.max_restarts}. The same command goes on from the last checkpoint"
                )
            report(f"launch: {reason}; starting all again")
