"""Tells folders of runs from exports by the files in them."""

import os

from tfscale.files.folders import claim_directory
from tfscale.files.paths import read_yaml

TRAINED_FILES = ("checkpoints", "history.jsonl")
"""Files of a run folder that only training writes."""


def claim_export(path: str) -> None:
    """Checks that an export may be written to `path`: as `claim_directory`, and it is not a run.

    Raises:
        DataError: the folder holds something else, or is a file.
    """
    claim_directory(
        path, "model.json", "an export folder", key="tfscale_version", without=("config.yaml",)
    )


def is_exported(path: str) -> bool:
    """Returns whether a path is an exported file or its folder, which need no TensorFlow."""
    files = [os.path.join(path, name) for name in ("model.tflite", "model.litertlm", "model.ngram")]
    if path.endswith((".tflite", ".litertlm", ".ngram")) or any(map(os.path.isfile, files)):
        return True
    # A file of another format has its description beside it; that of a run is an n-gram model's.
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    described = os.path.isfile(os.path.join(folder, "model.json"))
    is_run = os.path.isfile(os.path.join(folder, "config.yaml"))
    return os.path.exists(path) and described and not is_run


def run_data(directory: str) -> str | None:
    """Returns the data folder that the config.yaml of a run names, if both are there."""
    path = os.path.join(directory, "config.yaml")
    if not os.path.isfile(path):
        return None
    data = read_yaml(path, "the configuration of the run").get("data")
    return (
        data
        if isinstance(data, str) and os.path.isfile(os.path.join(data, "manifest.json"))
        else None
    )
