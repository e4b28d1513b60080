"""A fine-tuned model of a task: its folder, its predictions and its scores."""

import os

import keras
import numpy as np
import tensorflow as tf

from tfscale.config.options import checks_arguments
from tfscale.config.tasks import TaskConfig
from tfscale.errors import CheckpointError, DataError
from tfscale.files.paths import read_json
from tfscale.models.encoder_decoder import EncoderDecoder
from tfscale.models.prefix import PrefixLM
from tfscale.runs.folder import load_network
from tfscale.tasks.network import TaskNetwork
from tfscale.tasks.predictor import Encoder, TaskPredictor, read_task
from tfscale.tasks.sequences import SequenceEncoder
from tfscale.tasks.writing import BeamWriter, GreedyWriter
from tfscale.text.tokenizers import load_tokenizer

TASK_FILE = "task.json"
_BATCH = 32


class TaskModel(TaskPredictor):
    """A Keras network with what belongs to it; made by `finetune` and `load_task`."""

    def __init__(self, directory: str, network: keras.Model, encoder: Encoder, config: TaskConfig):
        super().__init__(encoder, config)
        self.directory, self.network = directory, network
        self._function = tf.function(network, reduce_retracing=True)
        if isinstance(encoder, SequenceEncoder):
            self._greedy, self._by_beams = (
                GreedyWriter(network, encoder),
                BeamWriter(network, encoder),
            )

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Logits (N, P, C) float32 of ids (N, T), a batch at a time."""
        parts = [
            self._function(ids[at : at + _BATCH], training=False)
            for at in range(0, len(ids), _BATCH)
        ]
        return np.concatenate([np.asarray(part) for part in parts]).astype(np.float32)

    def write(self, ids: np.ndarray, starts: np.ndarray, beams: int) -> list[list[int]]:
        """The tokens that follow in rows (N, T) after the places (N,); without beams a batch at a
        time."""
        return self._greedy(ids, starts) if beams == 1 else self._by_beams(ids, starts, beams)


@checks_arguments
def load_task(directory: str) -> TaskModel:
    """Reads the folder that `tfscale finetune` wrote.

    Raises:
        CheckpointError: the folder is none, or is damaged.

    Example:
        load_task("task").predict_text("a fine film")["label"]
    """
    path = os.path.join(directory, TASK_FILE)
    if not os.path.isfile(path):
        raise CheckpointError(
            f"{directory} is not a folder of tfscale finetune: it has no {TASK_FILE}"
        )
    classes = {kind.__name__: kind for kind in (TaskNetwork, PrefixLM, EncoderDecoder)}
    try:
        described = read_json(path, "the description of the task")
    except DataError as error:
        raise CheckpointError(str(error)) from error
    config, encoder = read_task(described, load_tokenizer(directory), path, CheckpointError)
    return TaskModel(
        directory, load_network(os.path.join(directory, "model.keras"), classes), encoder, config
    )
