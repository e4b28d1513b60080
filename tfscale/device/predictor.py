"""Predictions of a model of somebody's own by an exported file whose one signature is `predict`."""

import dataclasses
import os
import threading
from collections.abc import Sequence
from typing import cast

import numpy as np

from tfscale.device.interpreter import open_interpreter, running
from tfscale.device.model import Ability, ExportedFile, ExportedModel
from tfscale.device.signature import Inputs, PredictSignature, shape_text
from tfscale.device.text_input import row_of
from tfscale.errors import ConfigError, ExportError
from tfscale.files.description import METADATA_FILE
from tfscale.files.fields import from_fields
from tfscale.files.json_text import JsonObject
from tfscale.tasks.values import Prediction
from tfscale.text.tokenizers import Tokenizer
from tfscale.ui.tables import number

SIGNATURE = "predict"


class Predictor(ExportedModel):
    """A classifier or another model of somebody's own; made by `tfscale.device.load`.

    Attributes:
        signature: names, shapes and types of inputs and outputs.

    Args:
        file: the .tflite file and what describes it.
        tokenizer: what makes ids of texts; None for a file that takes arrays alone.
        signature: as model.json describes it.

    Raises:
        ExportError: the file cannot be run, or has other inputs or outputs than its description.

    Example:
        model = tfscale.device.load("export")
        model.predict(x)["output"]              # an array, as from the Keras model
        model.classify(x)[0]["label"]           # with labels
        model.predict_text("a fine film")       # with a tokenizer
    """

    abilities: frozenset[Ability] = frozenset({"predict"})
    form = "predictor"

    def __init__(
        self, file: ExportedFile, tokenizer: Tokenizer | None, signature: PredictSignature
    ):
        super().__init__(file.path, tokenizer, file.description, file.threads)
        self.signature = signature
        self._interpreter = open_interpreter(file.path, file.threads, file.xnnpack)
        self._lock = threading.Lock()
        self._check_signature()
        with running(file.path):
            self._runner = self._interpreter.get_signature_runner(SIGNATURE)
        self._batch = signature.inputs[0].shape[0]

    @classmethod
    def open(cls, file: ExportedFile) -> "Predictor":
        """Loads a .tflite file with the one signature `predict`."""
        file.check_tflite()
        known = {item.name for item in dataclasses.fields(PredictSignature)}
        described = {name: part for name, part in file.description.more.items() if name in known}
        where = os.path.join(file.folder, METADATA_FILE)
        signature = from_fields(PredictSignature, described, where, ExportError)
        if fault := signature.fault():
            raise ExportError(f"{where}: {fault}")
        return cls(file, file.tokenizer() if signature.text else None, signature)

    def predict(self, inputs: Inputs | str | Sequence[str]) -> dict[str, np.ndarray]:
        """Returns all outputs (N, ...) by name.

        Args:
            inputs: an array (N, ...), or arrays by name; a text or several, where the file has a
                tokenizer.

        Raises:
            DataError: other inputs, shapes or types than the file reads.
            ConfigError: a text for a file that takes none, or one that it cannot read.
            ExportError: LiteRT cannot run the file on these numbers.

        Example:
            tfscale.device.load("export").predict(images)["output"]
        """
        texts = _texts(inputs)
        given = cast(Inputs, inputs) if texts is None else self._rows_of(texts)
        arrays = self.signature.arrays(given)
        count, batch = len(next(iter(arrays.values()))), self._batch
        parts = []
        for start in range(0, count, batch):
            # The last rows are filled up to a whole batch with the last one.
            places = np.minimum(np.arange(start, start + batch), count - 1)
            parts.append(self._run({name: array[places] for name, array in arrays.items()}))
        return {
            tensor.name: np.concatenate([part[tensor.name] for part in parts])[:count]
            for tensor in self.signature.outputs
        }

    def classify(self, inputs: Inputs | str | Sequence[str]) -> list[Prediction]:
        """Returns for each row its label and probabilities.

        Args:
            inputs: as for `predict`.

        Returns:
            `label`, its `probability`, and `probabilities` by label; where a row may have several
            labels, `labels` (those above one half) and `probabilities`. A model of several outputs
            has these under the names of those with labels, and the others as lists.

        Raises:
            ConfigError: the file was exported without labels; and as `predict`.

        Example:
            tfscale.device.load("export").classify(images)[0]["label"]
        """
        if not any(tensor.labels for tensor in self.signature.outputs):
            raise ConfigError(
                f"{self.path} has no labels; predict gives its outputs, and"
                " tfscale.export_keras(..., labels=[...]) gives names to classes"
            )
        return self.rows(inputs)

    def predict_text(self, text: str) -> Prediction:
        """Returns the prediction for one text: the label and probabilities as `classify` gives
        them, other outputs by name as lists.

        Raises:
            ConfigError: the file takes no text, or the text is empty.

        Example:
            print(tfscale.device.load("export").predict_text("a fine film"))    # positive 0.98
        """
        if self.tokenizer is not None and not text.strip():
            raise ConfigError("the text is empty; give one of a word or more")
        return self.rows(text)[0]

    def rows(self, inputs: Inputs | str | Sequence[str]) -> list[Prediction]:
        """Returns for each row all outputs as JSON has them; those with labels as `classify`."""
        outputs = self.predict(inputs)
        tensors = self.signature.outputs
        labelled = [tensor for tensor in tensors if tensor.labels]
        chances = {tensor.name: tensor.probabilities(outputs[tensor.name]) for tensor in labelled}
        predictions = []
        for place in range(len(next(iter(outputs.values())))):
            row: JsonObject = {
                tensor.name: outputs[tensor.name][place].tolist()
                for tensor in tensors
                if not tensor.labels
            }
            for tensor in labelled:
                named = tensor.named(chances[tensor.name][place])
                row |= named if len(tensors) == 1 else {tensor.name: named}
            predictions.append(Prediction(_line, row))
        return predictions

    def _run(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        # A fused LSTM keeps its state in the file's variables from one call to the next.
        with self._lock, running(self.path):
            self._interpreter.reset_all_variables()
            return self._runner(**arrays)

    def _rows_of(self, texts: Sequence[str]) -> np.ndarray:
        if self.tokenizer is None:
            raise ConfigError(
                f"{self.path} takes arrays and no text: {_inputs_text(self.signature)}; a file of"
                " tfscale.export_keras(..., tokenizer=..., texts=...) takes text"
            )
        length = self.signature.inputs[0].shape[1]
        return np.stack(
            [row_of(self.signature.text, self.tokenizer, text, length) for text in texts]
        )

    def _check_signature(self) -> None:
        """Refuses a file that is not the one of its description."""
        with running(self.path):
            signatures = self._interpreter.get_signature_list()
            if list(signatures) != [SIGNATURE]:
                raise ExportError(
                    f"{self.path} does not predict: its signatures are {', '.join(signatures)}"
                )
            runner = self._interpreter.get_signature_runner(SIGNATURE)
            inputs, outputs = runner.get_input_details(), runner.get_output_details()
        described = (self.signature.inputs, inputs), (self.signature.outputs, outputs)
        for tensors, found in described:
            expected = {tensor.name: (tensor.shape, tensor.dtype) for tensor in tensors}
            received = {
                name: (list(map(int, detail["shape"])), np.dtype(detail["dtype"]).name)
                for name, detail in found.items()
            }
            if expected != received:
                raise ExportError(
                    f"{self.path} has {received}, its description says {expected}; keep the export"
                    " folder together"
                )


def _texts(inputs: Inputs | str | Sequence[str]) -> list[str] | None:
    """Returns texts as a list; None for arrays."""
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, tuple | list) and inputs:
        texts = [text for text in inputs if isinstance(text, str)]
        return texts if len(texts) == len(inputs) else None
    return None


def _inputs_text(signature: PredictSignature) -> str:
    return ", ".join(
        f"{tensor.name} {tensor.dtype} {shape_text(tensor)}" for tensor in signature.inputs
    )


def _line(row: JsonObject) -> str:
    """Returns a row in the words that a person reads."""
    if "label" in row:
        return f"{row['label']} {number(row['probability'])}"
    if "labels" in row:
        chances = row["probabilities"]
        return ", ".join(f"{label} {number(chances[label])}" for label in row["labels"]) or "(none)"
    return "; ".join(
        f"{name}: {_line(value) if isinstance(value, dict) else value}"
        for name, value in row.items()
    )
