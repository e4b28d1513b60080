"""Opens and runs .tflite files by LiteRT, with errors of one line and without its log."""

import contextlib
import os
import threading
from collections.abc import Iterator

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfscale.device.structure import check_structure
from tfscale.errors import ExportError

_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def without_log_lines() -> Iterator[None]:
    """Keeps what LiteRT's C++ code writes to stderr off the terminal; it has no option for it."""
    # A second thread would take the first one's file for the process's stderr, and put that back
    # for good.
    with _ONE_AT_A_TIME:
        try:
            saved = os.dup(2)
        except OSError:  # There is no stderr.
            yield
            return
        try:
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def open_interpreter(path: str, threads: int, xnnpack: bool) -> Interpreter:
    """Returns an interpreter of a file, with its tensors allocated.

    Raises:
        ExportError: its structure is not sound, or LiteRT refuses it.
    """
    check_structure(path)
    resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with running(path), without_log_lines():
        interpreter = Interpreter(
            model_path=os.fspath(path), num_threads=threads, experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
    return interpreter


def check_readable(path: str) -> None:
    """Refuses a file whose offsets lead outside of it, or that names operations that are unknown.

    LiteRT's interpreter looks at that when it is made; its compiled models believe the file.

    Raises:
        ExportError: its structure is not sound, or LiteRT refuses it.
    """
    check_structure(path)
    with running(path), without_log_lines():
        Interpreter(
            model_path=os.fspath(path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )


@contextlib.contextmanager
def running(path: str) -> Iterator[None]:
    """Turns what LiteRT raises for a file that it cannot run into an ExportError.

    Much of it shows only at first use.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"{path} cannot be run by LiteRT: {reason}") from error
