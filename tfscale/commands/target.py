"""What `evaluate` and `generate` are pointed at: a run, or an exported file."""

import os

from tfscale.commands.quiet import load_tensorflow

HELP = "A run folder, or an exported .tflite file or its folder."


def start_for(path: str) -> None:
    """Starts TensorFlow, without its log, for a run; an exported file does without it."""
    if not path.endswith(".tflite") and not os.path.isfile(os.path.join(path, "model.tflite")):
        load_tensorflow()
