"""A small cluster on this machine: Beam's job service, two pools of workers, and what is before the pools.

Beam's local job service drives one worker; started by this module it drives two. What is before the pools passes
connections to them in turn, as a service of Kubernetes does.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

SERVICE = """
import sys
from apache_beam.runners.portability import local_job_service_main
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
first = FnApiRunner.__init__
def with_two(self, *arguments, **named):
    first(self, *arguments, **named)
    self._num_workers = 2
FnApiRunner.__init__ = with_two
local_job_service_main.run(sys.argv)
"""
POOL = "import sys; from apache_beam.runners.worker import worker_pool_main; worker_pool_main.main(sys.argv)"


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
            return
        time.sleep(0.1)
    raise TimeoutError(port)


class Cluster:
    """Use as a context; `beam` are the options that lead to it."""

    def __enter__(self):
        self.processes = []
        self._ports = [free_port() for _ in range(2)]
        service = free_port()
        self.service = self._start(SERVICE, "-p", str(service))
        self.pools = [self._start(POOL, f"--service_port={port}") for port in self._ports]
        self._listener = socket.create_server(("localhost", 0))
        threading.Thread(target=self._pass_on, daemon=True).start()
        for port in (service, *self._ports):
            wait_for(port)
        self.beam = {
            "runner": "PortableRunner",
            "job_endpoint": f"localhost:{service}",
            "environment_type": "EXTERNAL",
            "environment_config": f"localhost:{self._listener.getsockname()[1]}",
        }
        return self

    def __exit__(self, *_):
        self._listener.close()
        for process in self.processes:
            self.kill(process)

    def _start(self, code, *words):
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        root = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env={**os.environ, "PATH": path, "PYTHONPATH": root},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def kill(self, process):
        """Kills a process and the workers that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _pass_on(self):
        turn = 0
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("localhost", self._ports[turn % 2]))
                turn += 1
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source, target):
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 16):
                target.sendall(block)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
