"""Names of Apache Beam that it does not document but tfscale needs, each with the reason.

Nobody else uses such names. When an upgrade of Beam takes one away, tests/compat/test_beam.py says
which.
"""

import argparse
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    WorkerOptions,
    _BeamArgumentParser,
)
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import (
    ExtendedProvisionInfo,
    FnApiRunner,
)
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.runners.runner import PipelineRunner

from tfscale.compat.quiet import log_unheard

DISCARDED = "Discarding unparseable args"
"""How Beam says in its log that it does not know an option, and goes on without it."""


class OptionParser(_BeamArgumentParser):
    """The parser of all options of Beam; a mistake is a ValueError.

    Beam's own passes over what it does not know, and ends the program at a wrong value.
    """

    def __init__(self) -> None:
        super().__init__(allow_abbrev=False, add_help=False)
        for options in dict.fromkeys(PipelineOptions.__subclasses__()):
            options._add_argparse_args(self)

    def error(self, message: str) -> NoReturn:
        """Raises the message."""
        raise ValueError(message)

    def known(self) -> dict[str, argparse.Action]:
        """Returns the options by their names, as they stand after `--`."""
        return {
            name.removeprefix("--"): action
            for action in self._actions
            for name in action.option_strings
            if name.startswith("--")
        }


def direct_runner(options: PipelineOptions) -> PipelineRunner:
    """Returns what Beam's DirectRunner chooses for a pipeline of batches.

    DirectRunner itself first tries to download and start another one, Prism.
    """
    if options.view_as(WorkerOptions).default_sdk_harness_log_level is None:
        # Its processes write their log to this one's stderr.
        options.view_as(WorkerOptions).default_sdk_harness_log_level = "CRITICAL"
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    provision = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return FnApiRunner(provision_info=ExtendedProvisionInfo(provision))


def is_local(runner: PipelineRunner) -> bool:
    """Returns whether a runner is that of `direct_runner`, which starts no worker again."""
    return isinstance(runner, FnApiRunner)


@contextlib.contextmanager
def own_log(on_discarded: Callable[[str], None]) -> Iterator[None]:
    """Keeps Beam's log from stderr, unless the program has set logging up.

    Args:
        on_discarded: is called with the options that a job service does not know.
    """
    logger = logging.getLogger("apache_beam.options.pipeline_options")
    handler = _Discarded(on_discarded)
    logger.addHandler(handler)
    hook, threading.excepthook = threading.excepthook, _unless_beam(threading.excepthook)
    try:
        with log_unheard():
            yield
    finally:
        threading.excepthook = hook
        logger.removeHandler(handler)


def _unless_beam(
    hook: Callable[[threading.ExceptHookArgs], object],
) -> Callable[[threading.ExceptHookArgs], object]:
    """Returns a hook that passes over errors of Beam's own threads, such as of a dead worker."""

    def call(arguments: threading.ExceptHookArgs) -> None:
        trace = arguments.exc_traceback
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__", "").startswith(("apache_beam", "grpc")):
                return
            trace = trace.tb_next
        hook(arguments)

    return call


class _Discarded(logging.Handler):
    """Hears that Beam discards options."""

    def __init__(self, on_discarded: Callable[[str], None]):
        super().__init__(logging.WARNING)
        self._on_discarded = on_discarded

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith(DISCARDED):
            self._on_discarded(message.removeprefix(DISCARDED).strip(": []"))


def takes_one(action: argparse.Action) -> bool:
    """Returns whether an option has one value; argparse has no public name for such."""
    return type(action) is argparse._StoreAction
