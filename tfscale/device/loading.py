"""Loads an exported model: which class runs a file is found here, by one table."""

import os
from collections.abc import Callable
from typing import Any

from tfscale.config.options import checks_arguments
from tfscale.device.bundle import BundleModel
from tfscale.device.model import ExportedFile, ExportedModel
from tfscale.device.ngram import NGramDeviceModel
from tfscale.device.predictor import Predictor
from tfscale.device.runner import DeviceModel
from tfscale.device.scorer import ScoringModel
from tfscale.device.task import TaskFile
from tfscale.errors import ConfigError, ExportError
from tfscale.files.description import read_description
from tfscale.registry import FORMATS

_LOADERS: dict[str, Callable[[ExportedFile], ExportedModel]] = {
    # Files of the first versions, and those that lie alone, say nothing.
    "": DeviceModel.open,
    "tflite": DeviceModel.open,
    "web": DeviceModel.open,
    "litertlm": BundleModel.open,
    "ngram": NGramDeviceModel.open,
    "scoring": ScoringModel.open,
    "task": TaskFile.open,
    "predictor": Predictor.open,
}
"""Name of a format in model.json -> what runs its files."""
_ENDINGS = {".litertlm": "litertlm", ".ngram": "ngram"}
"""Endings that say more than a model.json, which may be that of another file in the folder."""


# A registered format may return an object of its own.
@checks_arguments
def load(path: str, threads: int = 1, xnnpack: bool = True) -> Any:
    """Loads an exported model, after it has been checked to be whole and to belong to its
    tokenizer.

    Args:
        path: an export folder, or the .tflite, .litertlm or .ngram file in it; the run folder of an
            n-gram model.
        threads: CPU threads; for small models one is usually the fastest.
        xnnpack: whether to use the XNNPACK kernels; no effect on a .litertlm bundle.

    Returns:
        An object of one of these classes; its `abilities` say what it can do.

        - `DeviceModel`, a model of the next token, of a network or of n-grams;
        - `tfscale.device.bundle.BundleModel`, a .litertlm bundle, which generates;
        - `tfscale.device.scorer.ScoringModel`, which scores whole windows;
        - `tfscale.device.task.DeviceTask`, which predicts labels, tags or answers;
        - `tfscale.device.task.DeviceWriter`, which writes a text for a text;
        - `tfscale.device.predictor.Predictor`, a classifier or another model of your own;
        - what the `load` of a registered export format returns.

    Raises:
        ExportError: the file is missing, damaged, not TFLite, or not a language model of tfscale;
            or nothing here runs its format.
        TokenizerError: the tokenizer beside it is missing, or is not the one that the model was
            trained with.

    Example:
        model = tfscale.device.load("export")
        print(model.generate("def main(", max_tokens=40).text)
    """
    if threads < 1:
        raise ConfigError(f"threads={threads!r} is out of range; expected 1 or more")
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    description = read_description(folder)
    if os.path.isdir(path):
        path = os.path.join(folder, description.file or "model.tflite")
    file = ExportedFile(path, folder, description, threads, xnnpack)
    name = _ENDINGS.get(os.path.splitext(path)[1], description.format)
    if name in _LOADERS:
        return _LOADERS[name](file)
    try:
        export_format = FORMATS.get(name)
    except ConfigError as error:
        raise ExportError(
            f"{path} has the format {name!r}, which tfscale does not know; import the module that"
            " registers it: tfscale --plugins MODULE, or TFSCALE_PLUGINS=MODULE"
        ) from error
    return export_format.load(file)
