"""One worker process of a launch: its environment, its output, its end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from tfscale.launching.heartbeat import NO_STEPS, VARIABLE, Heartbeat, read_heartbeat
from tfscale.launching.network import PrivateNetwork
from tfscale.terminal import print

_OUTPUT_LOCK = threading.Lock()
ERROR = "error: "


def report(text: str) -> None:
    """Prints a line on stderr; a closed terminal, which takes none, does not end the launcher."""
    with _OUTPUT_LOCK:
        try:
            print(text, file=sys.stderr, flush=True)
        except OSError:
            # What is left in Python's buffer would make the exit code 120.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class WorkerProcess:
    """A running worker. Its stderr is passed on line by line with a prefix; its stdout is kept.

    Args:
        command: program and arguments.
        name: the prefix of its lines, such as "worker 1".
        environ: its environment.
        folder: where its heartbeat goes.
        log: file that gets all of its output as it is; None keeps none.
        network: the network it is started in; None is that of the launcher.
    """

    def __init__(
        self,
        command: Sequence[str],
        name: str,
        environ: Mapping[str, str],
        folder: str,
        log: str | None = None,
        network: PrivateNetwork | None = None,
    ):
        self.name = name
        self.heartbeat_path = os.path.join(folder, name.replace(" ", "-"))
        self.stdout = b""
        self.error: str | None = None
        """The text of its last `error:` line, which the launcher prints once for all workers."""
        self.quiet_since = time.monotonic()
        """When it last gave a sign of life, or began, by a clock that never jumps (seconds)."""
        self._last_sign: Heartbeat | None = None
        self._log = open(log, "ab") if log else None  # noqa: SIM115 - closed by `collect`
        self.process = subprocess.Popen(
            network.wrap(command) if network else command,
            env={**environ, VARIABLE: self.heartbeat_path},
            pass_fds=network.descriptors if network else (),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=read, args=(stream,), daemon=True)
            for read, stream in (
                (self._keep, self.process.stdout),
                (self._pass_on, self.process.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()

    def heartbeat(self) -> Heartbeat | None:
        """Its last sign of life; None before the first. A new one is noted in `quiet_since`."""
        sign = read_heartbeat(self.heartbeat_path)
        if sign != self._last_sign:
            self._last_sign, self.quiet_since = sign, time.monotonic()
        return sign

    def signal(self, number: int) -> None:
        """Sends a signal to the process and all that it started."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def describe_end(self) -> str:
        """Returns how it ended, in words: "worker 1 was ended by SIGKILL at step 40"."""
        code = self.process.returncode
        how = f"ended with exit code {code}"
        if code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        sign = self.heartbeat()
        where = f" at step {sign.step:,}" if sign and sign.step > NO_STEPS else ""
        return f"{self.name} {how}{where}{f' ({self.error})' if self.error else ''}"

    def collect(self) -> None:
        """Waits until its output has been read to the end."""
        for reader in self._readers:
            reader.join(timeout=5)
        if self._log:
            self._log.close()

    def _keep(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self.stdout += line
                self._write_log(line)

    def _pass_on(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._write_log(line)
                # A progress bar writes over its own line; a log needs its last text.
                text = line.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2]
                if text.startswith(ERROR):
                    self.error = text.removeprefix(ERROR)
                    continue
                report(f"[{self.name}] {text}")

    def _write_log(self, line: bytes) -> None:
        if self._log:
            self._log.write(line)
            self._log.flush()
