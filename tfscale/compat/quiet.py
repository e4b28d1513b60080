"""TensorFlow's start-up without its log, and for a command without what no command needs."""

import contextlib
import importlib
import importlib.abc
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from tfscale.errors import NEEDS_TRAIN, ConfigError

UNNEEDED = ("matplotlib", "pandas", "sklearn")
"""Libraries that Keras imports where they are installed, a second and a half of its start-up: for
pictures, data frames as the input of `fit`, and wrappers for scikit-learn. No command needs Keras
for these; what tfscale itself does with the libraries it imports later."""

_command_note: Callable[[str], None] | None = None
"""Callback that says that TensorFlow is being loaded; None outside of commands."""


def begin_command(note: Callable[[str], None]) -> None:
    """Says that this process is a command of tfscale, no program of a user's that imports it.

    Keras is then imported as if the libraries of `UNNEEDED` were not installed.

    Args:
        note: receives a line when the seconds begin in which TensorFlow is loaded.
    """
    global _command_note
    _command_note = note


class _LeftOut(importlib.abc.MetaPathFinder):
    """Finder that finds none of `UNNEEDED`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in UNNEEDED:
            raise ModuleNotFoundError(f"no command needs Keras with {fullname}", name=fullname)
        return None


@contextlib.contextmanager
def _without_unneeded() -> Iterator[None]:
    finder = _LeftOut()
    if _command_note is not None:
        sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)


@contextlib.contextmanager
def log_unheard() -> Iterator[None]:
    """Keeps from stderr what a library logs in the block, unless the program set logging up."""
    root, handler = logging.getLogger(), logging.NullHandler()
    if not root.handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def load_tensorflow(
    note: Callable[[str], None] | None = None, gives_memory_back: bool = False
) -> None:
    """Imports TensorFlow as `start_quietly` does.

    Args:
        note: receives a line if that is still to be done, which takes seconds; by default what
            `begin_command` was given.
        gives_memory_back: for a process that holds large weights once and computes little. With
            oneDNN's products, TensorFlow on x86 keeps what large tensors leave, in a pool that
            grows by doubling, and NumPy can't have it. Without them it is free at once. What the
            user says by TF_ENABLE_ONEDNN_OPTS holds.

    Raises:
        ConfigError: TensorFlow is not installed.
    """
    if sys.modules.get("tensorflow") is not None:
        return
    if importlib.util.find_spec("tensorflow") is None:
        raise ConfigError(NEEDS_TRAIN)
    note = note or _command_note
    if note is not None:
        note("loading TensorFlow ...")
    if gives_memory_back:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    start_quietly()


def start_quietly() -> None:
    """Imports TensorFlow, if there is one, and hides what its C++ side writes.

    It is shown if the import fails.

    Its first lines ("All log messages before absl::InitializeLog() ...") come before it reads
    TF_CPP_MIN_LOG_LEVEL, so that only the process's standard error itself can be turned away.
    Whoever sets the variable below 3 sees them.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") != "3" or "tensorflow" in sys.modules:
        return
    import tempfile

    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            with _without_unneeded():
                importlib.import_module("tensorflow")
        except ModuleNotFoundError:
            pass  # Who needs it imports it, and says so.
        except BaseException:
            log.seek(0)
            os.write(terminal, log.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
