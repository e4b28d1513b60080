"""One process of a gang: its environment, its output, its end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from tfscale.heartbeat import NO_STEPS, VARIABLE, Heartbeat, read_heartbeat

_OUTPUT_LOCK = threading.Lock()
ERROR = "error: "


class Member:
    """A running worker. Its stderr is passed on line by line with a prefix; its stdout is kept.

    Args:
        command: program and arguments.
        name: the prefix of its lines, such as "worker 1".
        environ: its environment.
        folder: where its heartbeat goes.
        log: file that gets all of its output as it is; None keeps none.
    """

    def __init__(
        self, command: Sequence[str], name: str, environ: Mapping[str, str], folder: str, log: str | None = None
    ):
        self.name = name
        self.heartbeat_path = os.path.join(folder, name.replace(" ", "-"))
        self.stdout = b""
        self.error: str | None = None
        """The text of its last `error:` line, which the launcher tells once for the whole gang."""
        self.began = time.time()
        self._log = open(log, "ab") if log else None  # noqa: SIM115 - closed by `collect`
        self.process = subprocess.Popen(
            command, env={**environ, VARIABLE: self.heartbeat_path}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=read, args=(stream,), daemon=True)
            for read, stream in ((self._keep, self.process.stdout), (self._pass_on, self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def heartbeat(self) -> Heartbeat | None:
        """Its last sign of life; None before the first."""
        return read_heartbeat(self.heartbeat_path)

    def signal(self, number: int) -> None:
        """Sends a signal to the process and all that it started."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def describe_end(self) -> str:
        """How it ended, in words: "worker 1 was ended by SIGKILL at step 40"."""
        code = self.process.returncode
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
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
                # A progress bar writes over its own line; what stands at the end of it is what a log needs.
                text = line.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2]
                if text.startswith(ERROR):
                    self.error = text.removeprefix(ERROR)
                    continue
                with _OUTPUT_LOCK:
                    print(f"[{self.name}] {text}", file=sys.stderr, flush=True)

    def _write_log(self, line: bytes) -> None:
        if self._log:
            self._log.write(line)
            self._log.flush()
