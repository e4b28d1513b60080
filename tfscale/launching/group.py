"""The processes of one training: started together, watched, and ended together.

A worker that is started again alone hangs for ever, because the others have given up their
collectives; so all end when one fails. With parameter servers it is otherwise: workers that come
and go are what they are made for, so a worker is started again alone; a server takes its weights
with it, and the chief the course of training, so all end with these two.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Sequence

from tfscale.config.launching import LaunchConfig
from tfscale.errors import ConfigError
from tfscale.launching import parent
from tfscale.launching.heartbeat import NO_STEPS, RESUME_EXIT_CODE
from tfscale.launching.network import PrivateNetwork
from tfscale.launching.stopping import StopSignals
from tfscale.launching.worker import WorkerProcess, report

MISTAKE_EXIT_CODE = 2
POLL_SECONDS = 0.1


class WorkerGroup:
    """All processes of one attempt, started when it is made.

    Args:
        command: program and arguments of each process.
        config: number of workers and parameter servers, and deadlines.
        folder: gets the processes' heartbeats; it is made.
        may_replace: how many workers may be started again alone.
        network: the network that they are started in; None is that of the launcher.
    """

    def __init__(
        self,
        command: Sequence[str],
        config: LaunchConfig,
        folder: str,
        may_replace: int,
        network: PrivateNetwork | None,
    ):
        self.command, self.config, self.folder = command, config, folder
        self.may_replace, self.network = may_replace, network
        self.replaced = 0
        os.makedirs(folder)
        if config.log_dir:
            os.makedirs(config.log_dir, exist_ok=True)
        self.environments = worker_environments(config)
        self.processes = [self._start(name) for name in self.environments]

    def _start(self, name: str) -> WorkerProcess:
        log = None
        if self.config.log_dir:
            log = os.path.join(self.config.log_dir, f"{name.replace(' ', '-')}.log")
        return WorkerProcess(
            self.command, name, self.environments[name], self.folder, log, self.network
        )

    @property
    def leaders(self) -> list[WorkerProcess]:
        """The processes that decide when training is done: all workers, or a chief of servers."""
        return self.processes[:1] if self.config.parameter_servers else self.processes

    @property
    def step(self) -> int:
        """The furthest step that a worker has reported; -1 before the first report."""
        signs = (worker.heartbeat() for worker in self.processes)
        return max((sign.step for sign in signs if sign), default=-1)

    def watch(self, stop: StopSignals) -> tuple[str, str]:
        """Waits for the end of the processes.

        Returns:
            "done", "stopped", "resume", "mistake" or "failed", and why.
        """
        try:
            while True:
                if stop.number is not None:
                    return self._stop(stop)
                if self.config.parameter_servers:
                    self._replace_workers()
                codes = [worker.process.poll() for worker in self.processes]
                if failed := self._failure(codes):
                    return failed
                codes = [worker.process.poll() for worker in self.leaders]
                if None not in codes:
                    if RESUME_EXIT_CODE in codes:
                        return "resume", "the workers were stopped and wrote a checkpoint"
                    return "done", ""
                if late := self._late():
                    return "failed", late
                time.sleep(POLL_SECONDS)
        finally:
            self._end()

    def _replace_workers(self) -> None:
        """Restarts workers that ended before their chief, as far as restarts are allowed."""
        for index, worker in enumerate(self.processes):
            code = worker.process.poll()
            ended = code not in (None, MISTAKE_EXIT_CODE) and worker.name.startswith("worker")
            chief_ended = self.processes[0].process.poll() is not None
            if not ended or chief_ended or self.replaced >= self.may_replace:
                continue
            worker.collect()
            report(f"launch: {worker.describe_end()}; starting it again")
            self.replaced += 1
            # Its last sign of life is not the new one's.
            with contextlib.suppress(FileNotFoundError):
                os.remove(worker.heartbeat_path)
            self.processes[index] = self._start(worker.name)

    def _failure(self, codes: Sequence[int | None]) -> tuple[str, str] | None:
        coded = zip(self.processes, codes, strict=True)
        failed = [worker for worker, code in coded if code not in (None, 0, RESUME_EXIT_CODE)]
        if not failed:
            return None
        # The first to die tells why; the others soon follow it, so a moment is left for a user's
        # mistake to show.
        time.sleep(POLL_SECONDS)
        codes = [worker.process.poll() for worker in self.processes]
        coded = zip(self.processes, codes, strict=True)
        mistaken = [worker for worker, code in coded if code == MISTAKE_EXIT_CODE]
        if mistaken:
            mistaken[0].collect()
            return "mistake", mistaken[0].error or mistaken[0].describe_end()
        # A process that was killed is the cause, one that ended by itself as a rule the
        # consequence.
        first = min(failed, key=lambda worker: worker.process.returncode)
        first.collect()
        return "failed", first.describe_end()

    def _late(self) -> str | None:
        now = time.monotonic()
        running = [worker for worker in self.processes if worker.process.poll() is None]
        signs = [(worker, worker.heartbeat()) for worker in running]
        limit = self.config.startup_seconds
        silent = [
            worker.name
            for worker, sign in signs
            if sign is None and now - worker.quiet_since > limit
        ]
        if silent:
            return f"{', '.join(silent)} did not begin to train within {limit:g} s"
        limit = self.config.stall_seconds
        stalled = [
            (worker.name, sign.step)
            for worker, sign in signs
            if sign and 0 < limit < now - worker.quiet_since
        ]
        names = [
            f"{name} (at step {step:,})" if step > NO_STEPS else name for name, step in stalled
        ]
        return f"{', '.join(names)} gave no sign of life for {limit:g} s" if names else None

    def _stop(self, stop: StopSignals) -> tuple[str, str]:
        """Asks all that train to stop; a second signal, or the end of the grace, kills them."""
        for worker in self.leaders:
            worker.signal(signal.SIGTERM)
        deadline = time.monotonic() + self.config.grace_seconds
        while (
            any(worker.process.poll() is None for worker in self.leaders)
            and time.monotonic() < deadline
            and stop.count < 2
        ):
            time.sleep(POLL_SECONDS)
        codes = [worker.process.poll() for worker in self.leaders]
        if all(code == 0 for code in codes):
            return "done", ""
        coded = zip(self.leaders, codes, strict=True)
        lost = [worker.name for worker, code in coded if code not in (0, RESUME_EXIT_CODE)]
        if lost:
            report(f"launch: {', '.join(lost)} did not write a checkpoint")
        return "stopped", ""

    def _end(self) -> None:
        """Ends all processes: SIGTERM, then SIGKILL, which a hung worker cannot ignore."""
        left = [worker for worker in self.processes if worker.process.poll() is None]
        for worker in left:
            worker.signal(signal.SIGTERM)
        deadline = time.monotonic() + min(self.config.grace_seconds, 5.0)
        while any(worker.process.poll() is None for worker in left) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for worker in self.processes:
            worker.signal(signal.SIGKILL)
            worker.process.wait()
            worker.collect()


def worker_environments(config: LaunchConfig) -> dict[str, dict[str, str]]:
    """Returns the environment of each process by its name, the chief first.

    It is that of this process, with TF_CONFIG if there are several.

    Raises:
        ConfigError: a port that was asked for is taken.
    """
    common = {**os.environ, parent.VARIABLE: str(os.getpid())}
    sizes = {"worker": config.workers}
    if config.parameter_servers:
        sizes = {"chief": 1, **sizes, "ps": config.parameter_servers}
    elif config.workers == 1:
        common.pop("TF_CONFIG", None)
        return {"worker 0": common}
    ports = _ports(config.port_base, sum(sizes.values()))
    addresses = iter([f"localhost:{port}" for port in ports])
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
