"""Predictions and scores of a task, whatever computes its logits: Keras, or a file on a device.
NumPy only."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfscale.config.tasks import TaskConfig
from tfscale.errors import ConfigError, TfscaleError, check_range
from tfscale.files.fields import check_fields, from_fields
from tfscale.files.json_text import JsonObject
from tfscale.registry import TASKS
from tfscale.tasks.examples import Example, FieldNames, read_examples
from tfscale.tasks.task import Task
from tfscale.tasks.values import Prediction, Shape
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class TaskDescription(Shape):
    """The entries that a file must have which describes a model of a task; it may have more."""

    config: JsonObject


def task_of(config: TaskConfig, tokenizer: Tokenizer, shape: Shape) -> Task:
    """Returns the task that options name, for a model with this tokenizer, labels and lengths."""
    task: Task = TASKS.get(config.task)(config, tokenizer, shape)
    return task


def read_task(
    described: JsonObject, tokenizer: Tokenizer, where: str, error: type[TfscaleError]
) -> Task:
    """Returns the task of a model, from the description in its folder.

    Args:
        described: the content of the description.
        tokenizer: the model's.
        where: names the file for the error.
        error: the class of the error.

    Raises:
        TfscaleError: of that class: the description is damaged.
    """
    check_fields(TaskDescription, described, where, error, others=True)
    name = described["config"].get("task")
    if isinstance(name, str) and name not in TASKS:
        raise error(f"{where} is of {TASKS.unregistered(name)}")
    config = from_fields(TaskConfig, described["config"], f"{where}: config", error)
    for name in TASKS.get(config.task).lengths:
        if (described.get(name) or 0) < 1:
            raise error(f"{where}: {name} should be 1 or more; received {described.get(name)!r}")
    lengths = described.get("source_length"), described.get("target_length")
    shape = Shape(described["labels"], described["sequence_length"], *lengths)
    return task_of(config, tokenizer, shape)


class TaskPredictor(abc.ABC):
    """Predictions and scores of a task.

    Args:
        task: the task with the options that the model was trained with.

    Attributes:
        network: the network that computes; None for an exported file.
    """

    network: "keras.Model | None" = None

    def __init__(self, task: Task):
        self.task, self.config = task, task.config

    @abc.abstractmethod
    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Returns logits (N, P, C) float32 of ids (N, T)."""

    def write(self, ids: np.ndarray, starts: np.ndarray, beams: int) -> list[list[int]]:
        """Returns the tokens, without the end token, that follow the places (N,) in rows (N, T)."""
        raise ConfigError(f"a {type(self).__name__} writes no texts")

    def predict(self, examples: Sequence[Example], beams: int = 1) -> list[Prediction]:
        """Returns the predictions of examples.

        Args:
            examples: what to predict for.
            beams: hypotheses of a beam search, where texts are written; 1 takes the likeliest token
                each time.

        Raises:
            ConfigError: beams out of range, or for a task that writes no texts.
        """
        check_range(beams >= 1, "beams", beams, "1 or more")
        return self.task.predict(self, examples, beams)

    def predict_text(self, text: str, question: str = "", beams: int = 1) -> Prediction:
        """Returns the prediction of one text, whose words are parted by white space.

        Args:
            text: the text.
            question: the question, for a task that takes one.
            beams: see `predict`.

        Raises:
            ConfigError: an empty text, a question that is missing or too much, or beams that do not
                fit.

        Example:
            model.predict_text("a fine film")["label"]
        """
        if not text.strip():
            raise ConfigError("the text is empty; give one of a word or more")
        if self.task.takes_question != bool(question.strip()):
            needed = "needs a question" if self.task.takes_question else "takes no question"
            raise ConfigError(f"the task {self.task.name} {needed}")
        return self.predict([self.task.text_example(text, question)], beams)[0]

    def read(self, paths: Sequence[str], labelled: bool = True) -> list[Example]:
        """Returns the examples of files with the field names that the model was trained with."""
        return read_examples(paths, self.task.name, field_names(self.config), labelled)

    def check(self, examples: Sequence[Example]) -> None:
        """Refuses examples that cannot be scored, before any is predicted.

        Raises:
            DataError: a label that the training examples do not have.
            ConfigError: a package that the metrics need is not installed.
        """
        self.task.check_installed()
        self.task.check_labels(examples)

    def score(self, examples: Sequence[Example]) -> JsonObject:
        """Returns the task's metrics on labelled examples; see `Task.metrics`, and `check` for
        errors."""
        self.check(examples)
        return self.task.metrics(examples, self.predict(examples))


def field_names(config: TaskConfig) -> FieldNames:
    """Returns the names of the fields of examples that options give."""
    return FieldNames(config.text_field, config.label_field, config.labels_separator)
