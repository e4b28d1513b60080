"""TensorFlow's start-up without its log."""

import os
import sys
import tempfile


def load_tensorflow() -> None:
    """Imports TensorFlow; what its C++ side writes meanwhile is shown only if the import fails.

    Its first lines ("All log messages before absl::InitializeLog() ...") come before it reads TF_CPP_MIN_LOG_LEVEL, so
    that only the process's standard error itself can be turned away. Whoever sets the variable below 3 sees them.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") != "3" or "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            log.seek(0)
            os.write(terminal, log.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
