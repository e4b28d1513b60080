"""A fine-tuned model of a task: its folder, its predictions and its scores."""

import functools
import os
from typing import cast

import keras
import numpy as np
import tensorflow as tf

from tfscale.config.options import checks_arguments
from tfscale.errors import CheckpointError, DataError
from tfscale.files.paths import read_json
from tfscale.models.encoder_decoder import EncoderDecoder
from tfscale.models.prefix import PrefixLM
from tfscale.runs.folder import load_network
from tfscale.tasks.network import TaskNetwork
from tfscale.tasks.predictor import TaskPredictor, read_task
from tfscale.tasks.task import Task
from tfscale.tasks.writing import BeamWriter, GreedyWriter
from tfscale.tasks.writing_task import WritingTask
from tfscale.text.tokenizers import load_tokenizer

TASK_FILE = "task.json"
_BATCH = 32


class TaskModel(TaskPredictor):
    """A Keras network of a task; made by `finetune` and `load_task`.

    Args:
        directory: its folder.
        network: ids (N, T) -> logits (N, P, C).
        task: the task with its options, tokenizer and labels.
    """

    network: keras.Model

    def __init__(self, directory: str, network: keras.Model, task: Task):
        super().__init__(task)
        self.directory, self.network = directory, network
        self._function = tf.function(network, reduce_retracing=True)

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Returns logits (N, P, C) float32 of ids (N, T), computed a batch at a time."""
        batches = [
            self._function(ids[at : at + _BATCH], training=False)
            for at in range(0, len(ids), _BATCH)
        ]
        return np.concatenate([np.asarray(batch) for batch in batches]).astype(np.float32)

    def write(self, ids: np.ndarray, starts: np.ndarray, beams: int) -> list[list[int]]:
        """Returns the tokens that follow the places (N,) in rows (N, T); without beams a batch at a
        time."""
        return self._greedy(ids, starts) if beams == 1 else self._by_beams(ids, starts, beams)

    # Made once, and only where texts are written.

    @functools.cached_property
    def _greedy(self) -> GreedyWriter:
        return GreedyWriter(self.network, cast(WritingTask, self.task))

    @functools.cached_property
    def _by_beams(self) -> BeamWriter:
        return BeamWriter(self.network, cast(WritingTask, self.task))


@checks_arguments
def load_task(directory: str) -> TaskModel:
    """Reads the folder that `tfscale finetune` wrote.

    Raises:
        CheckpointError: the folder is another one, or is damaged.

    Example:
        load_task("task").predict_text("a fine film")["label"]
    """
    path = os.path.join(directory, TASK_FILE)
    if not os.path.isfile(path):
        raise CheckpointError(
            f"{directory} is not a folder of tfscale finetune: it has no {TASK_FILE}"
        )
    classes = {network.__name__: network for network in (TaskNetwork, PrefixLM, EncoderDecoder)}
    try:
        described = read_json(path, "the description of the task")
    except DataError as error:
        raise CheckpointError(str(error)) from error
    task = read_task(described, load_tokenizer(directory), path, CheckpointError)
    network = load_network(os.path.join(directory, "model.keras"), classes)
    return TaskModel(directory, network, task)
