"""A model of a task on the device: labels, tags, answers and texts by an exported file."""

from typing import Any

import numpy as np

from tfscale.device.scorer import ScoreSignature
from tfscale.task_config import TaskConfig
from tfscale.tasks.predictor import TaskPredictor, build_encoder
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
        super().__init__(build_encoder(config, tokenizer, metadata), config)
        self._score = ScoreSignature(path, threads, xnnpack)
        self.path, self.tokenizer, self.metadata, self.threads = path, tokenizer, metadata, threads

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Logits (N, P, C) float32 of ids (N, T), one example after the other."""
        return np.stack([self._score(row) for row in ids])
