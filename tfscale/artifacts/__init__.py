"""`tfscale.open`: finds the kind of a folder or file, and opens it."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from tfscale.artifacts.base import Artifact
from tfscale.compat.quiet import load_tensorflow
from tfscale.config.options import checks_arguments
from tfscale.errors import CheckpointError, ConfigError
from tfscale.files.model_folders import is_exported
from tfscale.files.paths import is_remote

__all__ = ["Artifact", "open", "opened"]


@dataclass(frozen=True)
class _Kind:
    """A kind of artifact.

    Attributes:
        holds: whether a path is one.
        open: path, CPU threads -> the artifact. It imports what it needs, so that an exported
            file is opened without TensorFlow.
    """

    holds: Callable[[str], bool]
    open: Callable[[str, int], Artifact]


def _open_exported(path: str, threads: int) -> Artifact:
    from tfscale.artifacts.exported import BundleArtifact, FileArtifact
    from tfscale.artifacts.ngram import NGramRun
    from tfscale.artifacts.predictor import PredictorArtifact
    from tfscale.artifacts.task import ExportedTask
    from tfscale.device import load

    model = load(path, threads=threads)
    made_of = {
        "file": FileArtifact,
        "bundle": BundleArtifact,
        "ngram": NGramRun,
        "task": ExportedTask,
        "predictor": PredictorArtifact,
    }
    return made_of[model.form](path, model)


def _open_task(path: str, threads: int) -> Artifact:
    load_tensorflow()
    from tfscale.artifacts.task import TaskArtifact

    return TaskArtifact.open(path)


def _open_run(path: str, threads: int) -> Artifact:
    load_tensorflow()
    from tfscale.artifacts.run import RunArtifact

    return RunArtifact.open(path)


KINDS = (
    _Kind(is_exported, _open_exported),
    _Kind(lambda path: os.path.isfile(os.path.join(path, "task.json")), _open_task),
    _Kind(lambda path: is_remote(path) or os.path.exists(path), _open_run),
)
"""The kinds, in the order in which a path is asked."""


@checks_arguments
def open(path: str, threads: int = 1) -> Artifact:
    """Opens a run, an n-gram run, a task, an exported file or its folder, or a bundle.

    Args:
        path: the folder or file.
        threads: CPU threads; no effect on a run and a folder of `finetune`.

    Raises:
        CheckpointError: there is nothing at the path, or no run.
        ExportError: the exported file is damaged.

    Example:
        tfscale.open("run").score(split="test")["perplexity"]
    """
    for kind in KINDS:
        if kind.holds(path):
            return kind.open(path, threads)
    raise CheckpointError(f"{path} does not exist; give a run folder or a .tflite file")


def opened(target: str | os.PathLike[str] | Artifact, threads: int = 1) -> Artifact:
    """Returns an artifact as it is, and opens a path."""
    if isinstance(target, Artifact):
        return target
    if not isinstance(target, str | os.PathLike):
        raise ConfigError(
            f"target: expected a path or what tfscale.open returned; received {target!r}"
        )
    return open(os.fspath(target), threads)
