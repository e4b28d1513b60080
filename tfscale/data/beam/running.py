"""Runs a pipeline: its progress, and its errors as one line each."""

import contextlib
import os
import threading
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult, PipelineState

from tfscale.compat.beam import own_log
from tfscale.data.beam.folder import BUSY, WorkFolder
from tfscale.data.beam.writing import Outcome
from tfscale.errors import ConfigError, EngineError
from tfscale.files.locks import hold, is_at, try_lock
from tfscale.terminal import to_stderr

SOON, LATER = 20.0, 600.0
"""Seconds in which work of a dead worker is begun again: on this machine, and where a worker may
have to be started."""
_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_LOOKS = 2.0
_LONGEST = 300
"""Characters of what Beam says about a failure."""


def run(pipeline: beam.Pipeline, folder: WorkFolder, progress: bool, patience: float) -> Outcome:
    """Runs a pipeline to its end.

    Args:
        pipeline: what `tfscale.data.beam.pipeline.build` made.
        folder: the shared folder.
        progress: whether to show on stderr what is done.
        patience: seconds after a worker's death in which another one must begin to work.

    Returns:
        What was written.

    Raises:
        TfscaleError: what a step left for the user.
        EngineError: a worker died, or anything else failed.
    """
    with own_log(_refuse), _shown(folder, progress):
        failure = _failure(pipeline, folder, patience)
    for message in folder.messages():
        for line in message.lines:
            to_stderr(line)
        if message.error:
            raise message.error from failure
    if isinstance(failure, ConfigError):
        raise failure
    outcome = folder.outcome()
    if failure or outcome is None:
        raise EngineError(f"the pipeline of Apache Beam failed: {_said(failure)}") from failure
    assert isinstance(outcome, Outcome)
    return outcome


def _refuse(options: str) -> None:
    raise ConfigError(f"neither Apache Beam nor its job service knows {options}: see --beam")


def _failure(pipeline: beam.Pipeline, folder: WorkFolder, patience: float) -> Exception | None:
    """Returns what made a pipeline fail; None if nothing did."""
    running = _Running(pipeline)
    idle = 0.0
    try:
        while not running.ended(_SECONDS_BETWEEN_LOOKS):
            alive, died = _workers(folder)
            idle = 0.0 if alive else idle + _SECONDS_BETWEEN_LOOKS * (died or idle > 0)
            if idle > patience:
                running.cancel()
                return EngineError("a worker died, and no other one took its work")
    except BaseException:
        # Ctrl-C: the workers would go on.
        running.cancel()
        raise
    return running.failure


def _workers(folder: WorkFolder) -> tuple[bool, bool]:
    """Returns whether a worker works, and whether one died since the last look."""
    alive = died = False
    for path in folder.files(BUSY):
        with contextlib.suppress(FileNotFoundError):
            # An empty file is that of a worker which is about to lock it.
            if os.path.getsize(path) == 0 or _is_held(path):
                alive = True
            else:
                died = True
    return alive, died


def _is_held(path: str) -> bool:
    """Returns whether the worker lives that locked a file.

    Raises:
        FileNotFoundError: it ended its work meanwhile.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        locked = try_lock(descriptor)
        if not is_at(descriptor, path):
            raise FileNotFoundError(path)
    finally:
        os.close(descriptor)
    # Of another machine the lock may say nothing: then it is watched.
    if locked is False:
        return True
    held = hold(path)
    if held is not None:
        held.release()
    return held is None


class _Running:
    """A pipeline that runs in a thread, since some runners wait for ever for a dead worker.

    Attributes:
        failure: what made it fail.
    """

    def __init__(self, pipeline: beam.Pipeline):
        self.failure: Exception | None = None
        self._pipeline = pipeline
        self._result: PipelineResult | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._pipeline.run()
            self._result.wait_until_finish()
            if self._result.state != PipelineState.DONE:
                self.failure = EngineError(f"it ended in the state {self._result.state}")
        except Exception as error:
            self.failure = error

    def ended(self, seconds: float) -> bool:
        """Waits for so many seconds; returns whether the pipeline has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Ends the pipeline, as far as the runner can."""
        if self._result is not None:
            with contextlib.suppress(Exception):
                self._result.cancel()


def _said(failure: Exception | None) -> str:
    """Returns the last line of what Beam says, which is the error of the worker."""
    lines = [line.strip() for line in str(failure or "").splitlines()]
    lines = [line for line in lines if line and not line.startswith("[while running")]
    last = lines[-1] if lines else "it has no result"
    return last if len(last) <= _LONGEST else f"{last[:_LONGEST]}..."


@contextlib.contextmanager
def _shown(folder: WorkFolder, progress: bool) -> Iterator[None]:
    """Shows in lines how far the steps are; the files of the folder tell, whatever runs them."""
    if not progress:
        yield
        return
    ended = threading.Event()

    def show() -> None:
        last = ""
        while not ended.wait(_SECONDS_BETWEEN_LINES):
            kinds = ("chunk", "kept", "tokens", "shard")
            counts = {kind: len(folder.files(kind)) for kind in kinds}
            line = (
                f"beam: {counts['chunk']:,} chunks of documents read, {counts['kept']:,} chosen,"
                f" {counts['tokens']:,} files of tokens, {counts['shard']:,} shards"
            )
            if line != last:
                to_stderr(line)
            last = line

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
