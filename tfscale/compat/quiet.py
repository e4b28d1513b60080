"""TensorFlow's start-up without its log."""

import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable

from tfscale.errors import NEEDS_TRAIN, ConfigError


def load_tensorflow(note: Callable[[str], None] | None = None) -> None:
    """Imports TensorFlow as `start_quietly` does.

    Args:
        note: receives a line if that is still to be done, which takes seconds.

    Raises:
        ConfigError: TensorFlow is not installed.
    """
    if sys.modules.get("tensorflow") is not None:
        return
    if importlib.util.find_spec("tensorflow") is None:
        raise ConfigError(NEEDS_TRAIN)
    if note is not None:
        note("loading TensorFlow ...")
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
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
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
