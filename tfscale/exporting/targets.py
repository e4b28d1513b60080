"""Exports whatever a folder holds: a run of a network or of n-grams, or a fine-tuned task."""

import os
from collections.abc import Callable
from typing import Any

from tfscale.config import ExportConfig


def export_folder(
    path: str | os.PathLike, config: ExportConfig, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Writes the export folder of a run or a task.

    Args:
        path: folder that `train`, `import` or `finetune` wrote.
        config: output folder, format, recipe and how much is compared.
        progress: is called with the name of each stage.

    Returns:
        The parity report.

    Raises:
        ConfigError: a format or recipe that is not for what the folder holds.
        CheckpointError: the folder is missing or damaged.
        ExportError: the file fails its parity check; nothing is written.

    Example:
        export_folder("run", ExportConfig(output="export", quantize="int8"))
    """
    path = os.fspath(path)
    # TensorFlow is imported where it is needed: n-grams do without.
    if os.path.isfile(os.path.join(path, "model.ngram")):
        from tfscale.device import load
        from tfscale.exporting.ngram import export_ngram

        return export_ngram(load(path), config, progress)
    if os.path.isfile(os.path.join(path, "task.json")):
        from tfscale.exporting.task import export_task
        from tfscale.tasks.model import load_task

        return export_task(load_task(path), config, progress)
    from tfscale.exporting.export import export_run
    from tfscale.runs.folder import load_run

    return export_run(load_run(path), config, progress=progress)
