"""What `evaluate` and `generate` are pointed at: a run, or an exported file."""

from tfscale.compat.quiet import load_tensorflow
from tfscale.files.model_folders import is_exported

HELP = "A run folder, or an exported file or its folder."


def start_for(path: str) -> None:
    """Starts TensorFlow, without its log, for a run; an exported file does without it."""
    if not is_exported(path):
        load_tensorflow()
