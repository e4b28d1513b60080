"""Exports whatever a folder holds: a run of a network or of n-grams, or a fine-tuned task."""

import os
from collections.abc import Callable

from tfscale.config import ExportConfig
from tfscale.exporting.format import Report
from tfscale.exporting.source import Source
from tfscale.exporting.writer import export_source


def export_folder(
    path: str | os.PathLike[str],
    config: ExportConfig,
    note: Callable[[str], None] | None = None,
) -> Report:
    """Writes the export folder of a run or a task.

    Args:
        path: folder that `train`, `import` or `finetune` wrote.
        config: output folder, format, recipe and how much is compared.
        note: receives the name of each stage.

    Returns:
        The parity report.

    Raises:
        ConfigError: a format or recipe that is not for what the folder holds.
        CheckpointError: the folder is missing or damaged.
        ExportError: the file fails its parity check; nothing is written.

    Example:
        export_folder("run", ExportConfig(output="export", quantize="int8"))
    """
    return export_source(open_source(path), config, note)


def open_source(path: str | os.PathLike[str]) -> Source:
    """Opens the folder of a run or a task as something to export.

    Args:
        path: folder that `train`, `train_ngram`, `import` or `finetune` wrote.

    Raises:
        CheckpointError: the folder is missing or damaged.
        ConfigError: it holds a model that no file can be made of.
    """
    folder = os.fspath(path)
    # TensorFlow is imported where it is needed: n-grams do without.
    if os.path.isfile(os.path.join(folder, "model.ngram")):
        from tfscale.device import load
        from tfscale.exporting.ngram import NGramSource

        return NGramSource(load(folder))
    if os.path.isfile(os.path.join(folder, "task.json")):
        from tfscale.exporting.task import TaskSource
        from tfscale.tasks.model import load_task

        return TaskSource(load_task(folder))
    from tfscale.exporting.network import network_source
    from tfscale.runs.folder import load_run

    return network_source(load_run(folder))
