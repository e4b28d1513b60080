"""What `evaluate` and `generate` are pointed at: a run, or an exported file."""

import os
from typing import Any

from tfscale.commands.quiet import load_tensorflow
from tfscale.errors import CheckpointError

HELP = "A run folder, or an exported .tflite file or its folder."


def open_target(path: str, threads: int) -> tuple[str, Any]:
    """Opens a run folder or an exported file.

    Args:
        path: a run folder, a .tflite file, or an export folder.
        threads: CPU threads of the runtime; no effect on a run.

    Returns:
        ("run", tfscale.training.run.Run) or ("file", tfscale.device.DeviceModel).

    Raises:
        TfscaleError: there is nothing, or something else, or it is damaged.
    """
    if os.path.isfile(path) or os.path.isfile(os.path.join(path, "model.json")):
        from tfscale.device import load

        return "file", load(path, threads=threads)
    if not os.path.exists(path):
        raise CheckpointError(f"{path} does not exist; expected a run folder or an exported .tflite file")
    load_tensorflow()
    from tfscale.training.run import load_run

    return "run", load_run(path)
