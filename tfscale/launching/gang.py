"""The supervision: starts all workers, restarts all when one fails, and leaves none behind.

A worker that is started again alone hangs for ever, because the others have given up their
collectives; so the gang lives and dies together. What was trained up to the last checkpoint is kept
by `train` itself. With parameter servers it is otherwise: workers that come and go are what they
are made for, so a worker is started again alone; a server takes its weights with it, and the chief
the course of training, so these two take the gang with them.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tfscale.config.launching import LaunchConfig
from tfscale.errors import ConfigError, TfscaleError
from tfscale.launching import lifeline
from tfscale.launching.heartbeat import NO_STEPS, RESUME_EXIT_CODE
from tfscale.launching.member import Member, report
from tfscale.launching.network import PrivateNetwork, workers_network

MISTAKE_EXIT_CODE = 2
POLL_SECONDS = 0.1


class LaunchError(TfscaleError):
    """The gang failed more often than it may."""

    exit_code = 1


@dataclass(frozen=True)
class Launched:
    """How a launch ended: exit code 0, 75 (stopped, can go on) or 130 (Ctrl-C), the chief's stdout,
    and restarts."""

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
    stop = _StopRequest()
    failures = resumes = 0
    reached = -1
    with (
        stop,
        workers_network(config) as network,
        tempfile.TemporaryDirectory(prefix="tfscale-launch-") as folder,
    ):
        while True:
            attempt = os.path.join(folder, str(failures + resumes))
            gang = _Gang(
                [*program, *words], config, attempt, config.max_restarts - failures, network
            )
            outcome, reason = gang.watch(stop)
            failures += gang.replaced
            if outcome in ("done", "stopped"):
                code = (
                    0
                    if outcome == "done"
                    else 130
                    if stop.number == signal.SIGINT
                    else RESUME_EXIT_CODE
                )
                return Launched(
                    code, gang.members[0].stdout.decode("utf-8", "replace"), failures + resumes
                )
            if outcome == "mistake":
                raise TfscaleError(reason)
            advanced, reached = gang.step > reached, max(reached, gang.step)
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


class _Gang:
    """All processes of one attempt; of its workers, `may_replace` may be started again alone."""

    def __init__(
        self,
        command: Sequence[str],
        config: LaunchConfig,
        folder: str,
        may_replace: int,
        network: PrivateNetwork | None,
    ):
        self.command, self.config, self.folder, self.may_replace = (
            command,
            config,
            folder,
            may_replace,
        )
        self.network = network
        self.replaced = 0
        os.makedirs(folder)
        if config.log_dir:
            os.makedirs(config.log_dir, exist_ok=True)
        self.environments = member_environments(config)
        self.members = [self._start(name) for name in self.environments]

    def _start(self, name: str) -> Member:
        log = (
            os.path.join(self.config.log_dir, f"{name.replace(' ', '-')}.log")
            if self.config.log_dir
            else None
        )
        return Member(self.command, name, self.environments[name], self.folder, log, self.network)

    @property
    def leaders(self) -> list[Member]:
        """The processes that train and that decide when it is done: all workers, or the chief of
        parameter servers."""
        return self.members[:1] if self.config.parameter_servers else self.members

    @property
    def step(self) -> int:
        """The furthest step that a worker has reported; -1 before the first report."""
        return max(
            (sign.step for member in self.members if (sign := member.heartbeat())), default=-1
        )

    def watch(self, stop: "_StopRequest") -> tuple[str, str]:
        """Waits for the end of the gang; returns "done", "stopped", "resume", "mistake" or
        "failed", and why."""
        try:
            while True:
                if stop.number is not None:
                    return self._stop(stop)
                if self.config.parameter_servers:
                    self._replace_workers()
                codes = [member.process.poll() for member in self.members]
                if failed := self._failure(codes):
                    return failed
                codes = [member.process.poll() for member in self.leaders]
                if None not in codes:
                    resumed = RESUME_EXIT_CODE in codes
                    return (
                        ("resume", "the workers were stopped and wrote a checkpoint")
                        if resumed
                        else ("done", "")
                    )
                if late := self._late():
                    return "failed", late
                time.sleep(POLL_SECONDS)
        finally:
            self._end()

    def _replace_workers(self) -> None:
        """Starts workers again that ended before their chief, as long as the number of restarts
        allows it."""
        for place, member in enumerate(self.members):
            code = member.process.poll()
            ended = code not in (None, MISTAKE_EXIT_CODE) and member.name.startswith("worker")
            if (
                not ended
                or self.members[0].process.poll() is not None
                or self.replaced >= self.may_replace
            ):
                continue
            member.collect()
            report(f"launch: {member.describe_end()}; starting it again")
            self.replaced += 1
            with contextlib.suppress(
                FileNotFoundError
            ):  # Its last sign of life is not the new one's.
                os.remove(member.heartbeat_path)
            self.members[place] = self._start(member.name)

    def _failure(self, codes: Sequence[int | None]) -> tuple[str, str] | None:
        bad = [
            m
            for m, code in zip(self.members, codes, strict=True)
            if code not in (None, 0, RESUME_EXIT_CODE)
        ]
        if not bad:
            return None
        # The first to die tells why; the others soon follow it, so a moment is left for a user's
        # mistake to show.
        time.sleep(POLL_SECONDS)
        mistaken = [m for m in self.members if m.process.poll() == MISTAKE_EXIT_CODE]
        if mistaken:
            mistaken[0].collect()
            return "mistake", mistaken[0].error or mistaken[0].describe_end()
        # A process that was killed is the cause, one that ended by itself as a rule the
        # consequence.
        first = min(bad, key=lambda member: member.process.returncode)
        first.collect()
        return "failed", first.describe_end()

    def _late(self) -> str | None:
        now = time.monotonic()
        running = [member for member in self.members if member.process.poll() is None]
        signs = [(member, member.heartbeat()) for member in running]
        limit = self.config.startup_seconds
        silent = [
            member.name
            for member, sign in signs
            if sign is None and now - member.quiet_since > limit
        ]
        if silent:
            return f"{', '.join(silent)} did not begin to train within {limit:g} s"
        limit = self.config.stall_seconds
        stalled = [
            (m.name, sign.step) for m, sign in signs if sign and 0 < limit < now - m.quiet_since
        ]
        names = [
            f"{name} (at step {step:,})" if step > NO_STEPS else name for name, step in stalled
        ]
        return f"{', '.join(names)} gave no sign of life for {limit:g} s" if names else None

    def _stop(self, stop: "_StopRequest") -> tuple[str, str]:
        """Asks all that train to stop, and waits; a second signal, or the end of the grace, kills
        what is left."""
        for member in self.leaders:
            member.signal(signal.SIGTERM)
        deadline = time.monotonic() + self.config.grace_seconds
        while (
            any(m.process.poll() is None for m in self.leaders)
            and time.monotonic() < deadline
            and stop.count < 2
        ):
            time.sleep(POLL_SECONDS)
        codes = [member.process.poll() for member in self.leaders]
        if all(code == 0 for code in codes):
            return "done", ""
        lost = [
            m.name
            for m, code in zip(self.leaders, codes, strict=True)
            if code not in (0, RESUME_EXIT_CODE)
        ]
        if lost:
            report(f"launch: {', '.join(lost)} did not write a checkpoint")
        return "stopped", ""

    def _end(self) -> None:
        """Leaves no process behind: SIGTERM, then SIGKILL, which a hung worker cannot ignore."""
        left = [member for member in self.members if member.process.poll() is None]
        for member in left:
            member.signal(signal.SIGTERM)
        deadline = time.monotonic() + min(self.config.grace_seconds, 5.0)
        while any(member.process.poll() is None for member in left) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for member in self.members:
            member.signal(signal.SIGKILL)
            member.process.wait()
            member.collect()


def member_environments(config: LaunchConfig) -> dict[str, dict[str, str]]:
    """Names of the processes, the chief first -> this process's environment with TF_CONFIG.

    Without TF_CONFIG where there is only one worker.

    Raises:
        ConfigError: a port that was asked for is taken.
    """
    common = {**os.environ, lifeline.VARIABLE: str(os.getpid())}
    sizes = {"worker": config.workers}
    if config.parameter_servers:
        sizes = {"chief": 1, **sizes, "ps": config.parameter_servers}
    elif config.workers == 1:
        common.pop("TF_CONFIG", None)
        return {"worker 0": common}
    addresses = iter(
        [f"localhost:{port}" for port in _ports(config.port_base, sum(sizes.values()))]
    )
    cluster = {task: [next(addresses) for _ in range(count)] for task, count in sizes.items()}
    return {
        task if task == "chief" else f"{task} {index}": {
            **common,
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": task, "index": index}}),
        }
        for task, count in sizes.items()
        for index in range(count)
    }


def _ports(base: int, count: int) -> list[int]:
    wanted = [base + index if base else 0 for index in range(count)]
    sockets, ports = [], []
    try:
        for port in wanted:
            sockets.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sockets[-1].bind(("", port))
            except OSError as error:
                raise ConfigError(
                    f"port {port} is taken ({error.strerror}); end the process that holds it, or"
                    " name another --port-base (0 finds free ports)"
                ) from error
            ports.append(sockets[-1].getsockname()[1])
    finally:
        for item in sockets:
            item.close()
    return ports


class _StopRequest:
    """Counts SIGTERM, SIGHUP (a closed terminal) and Ctrl-C while the gang runs, instead of being
    ended by them."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.count = 0
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "_StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) != signal.SIG_IGN:  # As `nohup` leaves SIGHUP.
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: object) -> None:
        self.number = self.number or number
        self.count += 1
