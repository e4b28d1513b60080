"""Runs a pipeline: its progress, and its errors as one line each."""

import contextlib
import threading
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.runners.runner import PipelineState

from tfscale.compat.beam import own_log
from tfscale.data.beam.folder import WorkFolder
from tfscale.data.beam.writing import Outcome
from tfscale.errors import ConfigError, EngineError, TfscaleError
from tfscale.terminal import to_stderr

_SECONDS_BETWEEN_LINES = 5.0
_LONGEST = 300
"""Characters of what Beam says about a failure."""


def run(pipeline: beam.Pipeline, folder: WorkFolder, progress: bool) -> Outcome:
    """Runs a pipeline to its end.

    Args:
        pipeline: what `tfscale.data.beam.pipeline.build` made.
        folder: the shared folder.
        progress: whether to show on stderr what is done.

    Returns:
        What was written.

    Raises:
        TfscaleError: what a step left for the user.
        EngineError: a worker died, or anything else failed.
    """
    with own_log(_refuse), _shown(folder, progress):
        failure = _failure(pipeline)
    for message in folder.messages():
        for line in message.lines:
            to_stderr(line)
        if message.error:
            raise message.error from failure
    if isinstance(failure, TfscaleError):
        raise failure
    outcome = folder.outcome()
    if failure or outcome is None:
        raise EngineError(f"the pipeline of Apache Beam failed: {_said(failure)}") from failure
    assert isinstance(outcome, Outcome)
    return outcome


def _refuse(options: str) -> None:
    raise ConfigError(f"neither Apache Beam nor its job service knows {options}: see --beam")


def _failure(pipeline: beam.Pipeline) -> Exception | None:
    """Returns what made a pipeline fail; None if nothing did."""
    result = None
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:
        return error
    except BaseException:
        # Ctrl-C: the workers would go on.
        if result is not None:
            with contextlib.suppress(Exception):
                result.cancel()
        raise
    if result.state != PipelineState.DONE:
        return EngineError(f"the pipeline of Apache Beam ended in the state {result.state}")
    return None


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
            counts = {kind: folder.count(kind) for kind in ("chunk", "kept", "tokens", "shard")}
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
