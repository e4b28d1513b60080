"""A model of a task on the device: labels, tags, answers and texts by an exported file."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfscale.device.decoder import LiteRTDecoder
from tfscale.device.model import Ability, ExportedFile, ExportedModel
from tfscale.device.scorer import ScoreSignature
from tfscale.errors import ExportError
from tfscale.files.description import Description
from tfscale.tasks.beams import beam_search
from tfscale.tasks.predictor import TaskPredictor, read_task
from tfscale.tasks.task import Task
from tfscale.tasks.writing_task import WritingTask
from tfscale.text.tokenizers import Tokenizer


class TaskFile(ExportedModel, TaskPredictor):
    """An exported task; `tfscale.device.load` makes a `DeviceTask` or a `DeviceWriter`.

    Args:
        path: the .tflite file.
        task: the task of the model.
        description: the content of model.json.
        threads: CPU threads.
        xnnpack: whether to use the XNNPACK kernels.

    Raises:
        ExportError: the file cannot be run, or has other signatures.
    """

    abilities: frozenset[Ability] = frozenset({"predict"})
    tokenizer: Tokenizer
    runner: Any
    """What runs the file: path, threads, xnnpack -> its signatures as a call or a decoder."""

    def __init__(
        self,
        path: str,
        task: Task,
        description: Description,
        threads: int = 1,
        xnnpack: bool = True,
    ):
        ExportedModel.__init__(self, path, task.tokenizer, description, threads)
        TaskPredictor.__init__(self, task)
        self._file = self.runner(path, threads, xnnpack)
        self._lock = threading.RLock()

    @classmethod
    def open(cls, file: ExportedFile) -> "TaskFile":
        """Loads the .tflite file of a task."""
        file.check_tflite()
        described, where = file.description, f"the description of {file.path}"
        task = read_task(described.to_dict(), file.tokenizer(), where, ExportError)
        file_class = DeviceWriter if task.gives == "text" else DeviceTask
        return file_class(file.path, task, described, file.threads, file.xnnpack)


class DeviceTask(TaskFile):
    """A file that `tfscale export` made of a fine-tuned task; made by `tfscale.device.load`.

    Example:
        tfscale.device.load("export").predict_text("a fine film")["label"]
    """

    runner = ScoreSignature

    def __init__(self, path: str, *arguments: Any, **options: Any):
        super().__init__(path, *arguments, **options)
        found = self._file.sequence_length, self._file.classes
        described = self.task.sequence_length, self.task.logits_shape[-1]
        if found != described:
            raise ExportError(
                f"{path} reads {found[0]} tokens and knows {found[1]} labels, its description says"
                f" {described[0]} and {described[1]}; keep the export folder together"
            )

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Logits (N, P, C) float32 of ids (N, T), one example after the other."""
        return np.stack([self._file(row) for row in ids])


class DeviceWriter(TaskFile):
    """A file of a model that writes a text for a text: it reads the source once, then writes token
    by token.

    Example:
        tfscale.device.load("export").predict_text("a long text")["text"]
    """

    runner = LiteRTDecoder
    task: WritingTask

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Logits (N, P, V) float32 of rows (N, T) with their targets; 0 where a prefix LM's row has
        no target."""
        task, rows = self.task, []
        for row in ids:
            start = task.start_of(row)
            found = np.zeros(
                (task.sequence_length - task.first_logit, self._file.vocabulary_size),
                np.float32,
            )
            with self._lock:
                self._read(row, start)
                for place in range(start, start + task.target_length):
                    found[place - task.first_logit] = self._file.feed([row[place]])
            rows.append(found)
        return np.stack(rows)

    def write(self, ids: np.ndarray, starts: np.ndarray, beams: int) -> list[list[int]]:
        """The tokens after the places (N,) of rows (N, T), one row after the other."""
        written = []
        end_id = self.tokenizer.end_id
        for row, start in zip(ids, starts, strict=True):
            with self._lock:
                self._read(row, start)
                written.append(
                    beam_search(self._step(beams), beams, self.task.target_length, end_id)
                )
        return written

    def _step(self, beams: int) -> Any:
        """The function that `beam_search` asks; a single hypothesis goes on where the decoder
        stands."""
        decoder, states = self._file, [self._file.state()]

        def step(tokens: Sequence[int], parents: Sequence[int]) -> np.ndarray:
            nonlocal states
            found, now = [], []
            for token, parent in zip(tokens, parents, strict=True):
                if beams > 1:
                    decoder.restore(states[parent])
                found.append(decoder.feed([token]))
                if beams > 1:
                    now.append(decoder.state())
            states = now
            return np.stack(found)

        return step

    def _read(self, row: np.ndarray, start: int) -> None:
        # What a prefix LM reads ends with the token that the target follows.
        self._file.read_source(row[: start + 1 if self.task.architecture == "prefix" else start])
