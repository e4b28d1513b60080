"""Work in other processes, whose results come back in order.

The result does not depend on how many there are.
"""

import contextlib
import importlib
import os
import pickle
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from tfscale.errors import TfscaleError


class Job(Protocol):
    """The work of the processes; it is pickled."""

    @property
    def verb(self) -> str:
        """A verb for messages, such as "tokenizes"."""

    @property
    def modules(self) -> Sequence[str]:
        """Modules whose imports register what the job needs; imported before it is unpickled."""

    def start(self) -> Callable[[Any], Any]:
        """Loads what is needed, and returns the function that does the work."""


class Worker:
    """A process that works.

    It is started by itself and not by `multiprocessing`, which would run the user's script anew in
    every process: that takes seconds where the script imports TensorFlow, and fails where it has no
    `if __name__ == "__main__":`.

    Args:
        job: what it is to do.
    """

    def __init__(self, job: Job):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            "PYTHONSAFEPATH": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._verb = job.verb
        # In a session of its own Ctrl-C does not reach it; it ends when its input is closed,
        # whatever happens here.
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import _serve; _serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout
        self._send(list(job.modules))
        self._send(job)

    def __call__(self, item: object) -> Any:
        """Returns the result for an item.

        Raises:
            TfscaleError: what the function raised, or that the process died.
        """
        self._send(item)
        try:
            result = pickle.load(self._output)
        except EOFError as error:
            raise self._died() from error
        if isinstance(result, TfscaleError):
            raise result
        return result

    def _send(self, message: object) -> None:
        try:
            pickle.dump(message, self._input)
            self._input.flush()
        except OSError as error:
            raise self._died() from error

    def _died(self) -> TfscaleError:
        return TfscaleError(
            f"a process that {self._verb} ended with exit code {self._process.wait()} (out of"
            f" memory?); with --processes 1 no other process {self._verb}"
        )

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(OSError):
            self._input.close()
        self._output.close()
        self._process.wait()


def _serve() -> None:
    """Works on the items that it reads from its standard input, in a `Worker`'s process."""
    # Nothing that a library prints may get among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    for module in pickle.load(requests):
        importlib.import_module(module)
    work = pickle.load(requests).start()
    while True:
        try:
            item = pickle.load(requests)
        except EOFError:
            return
        try:
            result = work(item)
        except TfscaleError as error:
            result = error
        try:
            pickle.dump(result, answers)
            answers.flush()
        except BrokenPipeError:
            return


def in_order(job: Job, items: Iterable[Any], processes: int) -> Iterator[Any]:
    """Yields the results for items, in their order, made by processes.

    Args:
        job: what they are to do.
        items: are read as the processes need them, a few ahead.
        processes: their number.

    Raises:
        TfscaleError: a process died, or the job's function raised it.
    """
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()

    def work(item: object) -> object:
        worker = idle.get()
        try:
            return worker(item)
        finally:
            idle.put(worker)

    with contextlib.ExitStack() as stack:
        for _ in range(processes):
            worker = Worker(job)
            stack.callback(worker.close)
            idle.put(worker)
        pool = ThreadPoolExecutor(processes)
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting: deque[Future[object]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            # Bounded, so that a slow disk does not fill the memory with results.
            if len(waiting) > 3 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
