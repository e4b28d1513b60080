"""A model of a task on the device: labels, tags and answers by an exported file."""

from typing import Any

import numpy as np

from tfscale.device.decoder import open_interpreter
from tfscale.errors import ExportError
from tfscale.task_config import TaskConfig
from tfscale.tasks.encoding import TaskEncoder
from tfscale.tasks.predictor import TaskPredictor
from tfscale.text.tokenizers import Tokenizer


class DeviceTask(TaskPredictor):
    """A file that `tfscale export` made of a fine-tuned task; made by `tfscale.device.load`.

    Args:
        path: the .tflite file.
        tokenizer: the model's.
        metadata: the content of model.json.
        threads: CPU threads.
        xnnpack: whether to use the XNNPACK kernels.

    Raises:
        ExportError: the file cannot be run, or has other signatures.

    Example:
        tfscale.device.load("export").predict_text("a fine film")["label"]
    """

    def __init__(
        self, path: str, tokenizer: Tokenizer, metadata: dict[str, Any], threads: int = 1, xnnpack: bool = True
    ):
        config = TaskConfig(**metadata["config"])
        several = bool(config.labels_separator)
        super().__init__(
            TaskEncoder(config.task, tokenizer, metadata["labels"], metadata["sequence_length"], several), config
        )
        self._interpreter = open_interpreter(path, threads, xnnpack)
        signatures = self._interpreter.get_signature_list()
        if list(signatures) != ["score"] or signatures["score"]["inputs"] != ["tokens"]:
            raise ExportError(f"{path} is no model of a task: its signatures are {signatures}")
        self.path, self.tokenizer, self.metadata, self.threads = path, tokenizer, metadata, threads

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Logits (N, P, C) float32 of ids (N, T), one example after the other."""
        rows = []
        runner = self._interpreter.get_signature_runner("score")
        for row in np.asarray(ids, np.int32):
            # A fused LSTM keeps its state in the file's variables from one call to the next.
            self._interpreter.reset_all_variables()
            rows.append(runner(tokens=row[None])["logits"][0])
        return np.stack(rows)
