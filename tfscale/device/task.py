"""A model of a task on the device: labels, tags, answers and texts by an exported file."""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from tfscale.device.decoder import LiteRTDecoder
from tfscale.device.model import Ability, ExportedFile, ExportedModel
from tfscale.device.scorer import ScoreSignature
from tfscale.errors import ExportError
from tfscale.tasks.beams import beam_search
from tfscale.tasks.predictor import TaskPredictor, read_task
from tfscale.tasks.task import Task
from tfscale.tasks.writing_task import WritingTask
from tfscale.text.tokenizers import Tokenizer


class TaskFile(ExportedModel, TaskPredictor):
    """An exported task; `tfscale.device.load` makes a `DeviceTask` or a `DeviceWriter`.

    Args:
        file: the .tflite file and what describes it.
        task: the task of the model.

    Raises:
        ExportError: the file cannot be run, or has other signatures.
    """

    abilities: frozenset[Ability] = frozenset({"predict"})
    form = "task"
    tokenizer: Tokenizer

    def __init__(self, file: ExportedFile, task: Task):
        ExportedModel.__init__(self, file.path, task.tokenizer, file.description, file.threads)
        TaskPredictor.__init__(self, task)
        self._lock = threading.RLock()

    @classmethod
    def open(cls, file: ExportedFile) -> "TaskFile":
        file.check_tflite()
        described, where = file.description, f"the description of {file.path}"
        task = read_task(described.to_dict(), file.tokenizer(), where, ExportError)
        file_class = DeviceWriter if task.gives == "text" else DeviceTask
        return file_class(file, task)


class DeviceTask(TaskFile):
    """A file that `tfscale export` made of a fine-tuned task; made by `tfscale.device.load`.

    Example:
        tfscale.device.load("export").predict_text("a fine film")["label"]
    """

    def __init__(self, file: ExportedFile, task: Task):
        super().__init__(file, task)
        self._file = ScoreSignature(file.path, file.threads, file.xnnpack)
        tokens, labels = self._file.sequence_length, self._file.classes
        if (tokens, labels) != (task.sequence_length, task.logits_shape[-1]):
            raise ExportError(
                f"{file.path} reads {tokens} tokens and knows {labels} labels, its description says"
                f" {task.sequence_length} and {task.logits_shape[-1]}; keep the export folder"
                " together"
            )

    def logits(self, ids: np.ndarray) -> np.ndarray:
        return np.stack([self._file(row) for row in ids])


class DeviceWriter(TaskFile):
    """A file of a model that writes a text for a text, which reads the source once.

    Example:
        tfscale.device.load("export").predict_text("a long text")["text"]
    """

    task: WritingTask

    def __init__(self, file: ExportedFile, task: Task):
        super().__init__(file, task)
        self._file = LiteRTDecoder(file.path, file.threads, file.xnnpack)

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Returns the logits (N, P, V) float32 of rows (N, T) with their targets.

        They are 0 where the row of a prefix LM has no target.
        """
        task, rows = self.task, []
        for row in ids:
            start = task.start_of(row)
            places = task.sequence_length - task.first_logit
            logits = np.zeros((places, self._file.vocabulary_size), np.float32)
            with self._lock:
                self._read(row, start)
                for place in range(start, start + task.target_length):
                    logits[place - task.first_logit] = self._file.feed([row[place]])
            rows.append(logits)
        return np.stack(rows)

    def write(self, ids: np.ndarray, starts: np.ndarray, beams: int) -> list[list[int]]:
        """Returns the tokens after the places (N,) of rows (N, T), one row after the other."""
        written = []
        ends = self.tokenizer.stop_ids
        for row, start in zip(ids, starts, strict=True):
            with self._lock:
                self._read(row, start)
                step, length = self._step(beams), self.task.target_length
                written.append(beam_search(step, beams, length, ends))
        return written

    def _step(self, beams: int) -> Callable[[Sequence[int], Sequence[int]], np.ndarray]:
        """Returns the function that `beam_search` asks for the logits after tokens.

        A single hypothesis goes on where the decoder stands.
        """
        decoder, states = self._file, [self._file.state()]

        def step(tokens: Sequence[int], parents: Sequence[int]) -> np.ndarray:
            nonlocal states
            logits, after = [], []
            for token, parent in zip(tokens, parents, strict=True):
                if beams > 1:
                    decoder.restore(states[parent])
                logits.append(decoder.feed([token]))
                if beams > 1:
                    after.append(decoder.state())
            states = after
            return np.stack(logits)

        return step

    def _read(self, row: np.ndarray, start: int) -> None:
        # What a prefix LM reads ends with the token that the target follows.
        self._file.read_source(row[: start + 1 if self.task.architecture == "prefix" else start])
