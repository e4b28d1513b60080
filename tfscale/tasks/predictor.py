"""What a model of a task does, whatever computes its logits: Keras, or a file on a device. NumPy
only."""

import abc
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfscale.config.tasks import WRITTEN, TaskConfig
from tfscale.errors import ConfigError, TfscaleError, check_range
from tfscale.files.fields import check_fields, from_fields
from tfscale.tasks.encoding import TaskEncoder
from tfscale.tasks.examples import Example, read_examples
from tfscale.tasks.sequences import SequenceEncoder
from tfscale.text.tokenizers import Tokenizer

Encoder = TaskEncoder | SequenceEncoder


def build_encoder(config: TaskConfig, tokenizer: Tokenizer, described: dict[str, Any]) -> Encoder:
    """The encoder of a task.

    Args:
        config: its options.
        tokenizer: the model's.
        described: `labels` and `sequence_length`; of a task that writes texts `source_length` and
            `target_length`.
    """
    if config.task in WRITTEN:
        lengths = described["source_length"], described["target_length"]
        return SequenceEncoder(config.task, tokenizer, config.architecture or "prefix", *lengths)
    several = bool(config.labels_separator)
    return TaskEncoder(
        config.task, tokenizer, described["labels"], described["sequence_length"], several
    )


@dataclass(frozen=True)
class TaskDescription:
    """What a file must say of a model of a task; it may say more."""

    config: dict[str, Any]
    labels: list[str]
    sequence_length: int
    source_length: int | None = None
    target_length: int | None = None


def read_task(
    described: Any, tokenizer: Tokenizer, where: str, error: type[TfscaleError]
) -> tuple[TaskConfig, Encoder]:
    """The options and the encoder of a task, from the description in its folder.

    Args:
        described: what was read.
        tokenizer: the model's.
        where: names the file for the error.
        error: the class of the error.

    Raises:
        TfscaleError: of that class: the description is damaged.
    """
    check_fields(TaskDescription, described, where, error, others=True)
    config = from_fields(TaskConfig, described["config"], f"{where}: config", error)
    for name in (
        ("source_length", "target_length") if config.task in WRITTEN else ("sequence_length",)
    ):
        if (described.get(name) or 0) < 1:
            raise error(f"{where}: {name} should be 1 or more; received {described.get(name)!r}")
    return config, build_encoder(config, tokenizer, described)


def describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """What `build_encoder` needs besides options and tokenizer."""
    described: dict[str, Any] = {
        "labels": list(encoder.labels),
        "sequence_length": encoder.sequence_length,
    }
    if isinstance(encoder, SequenceEncoder):
        described |= {
            "source_length": encoder.source_length,
            "target_length": encoder.target_length,
        }
    return described


class TaskPredictor(abc.ABC):
    """Predictions and scores of a task.

    Args:
        encoder: examples to ids, and logits or tokens to predictions.
        config: the options that the model was trained with, which name the fields of files.
    """

    def __init__(self, encoder: Encoder, config: TaskConfig):
        self.encoder = encoder
        self.config = config

    @abc.abstractmethod
    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Logits (N, P, C) float32 of ids (N, T)."""

    def predict(self, examples: Sequence[Example], beams: int = 1) -> list[dict[str, Any]]:
        """Predictions of examples, as the encoder's `decode` gives them.

        Args:
            examples: what to predict for.
            beams: hypotheses of a beam search, where texts are written; 1 takes the likeliest token
                each time.

        Raises:
            ConfigError: beams out of range, or for a task that writes no texts.
        """
        encoder = self.encoder
        check_range(beams >= 1, "beams", beams, "1 or more")
        if beams > 1 and not isinstance(encoder, SequenceEncoder):
            raise ConfigError(
                f"beams={beams} is for {' and '.join(WRITTEN)}; the task {encoder.task} writes no"
                " texts"
            )
        if isinstance(encoder, SequenceEncoder):
            # What is to be written must not be read.
            sources = [
                encoder.encode(dataclasses.replace(example, target="")) for example in examples
            ]
            starts = np.array([row.start for row in sources])
            ids = np.stack([row.ids for row in sources])
            return [encoder.decode(tokens) for tokens in self.write(ids, starts, beams)]
        encoded = [encoder.encode(example) for example in examples]
        rows = self.logits(np.stack([one.ids for one in encoded]))
        return [encoder.decode(*triple) for triple in zip(rows, examples, encoded, strict=True)]

    def write(self, ids: np.ndarray, starts: np.ndarray, beams: int) -> list[list[int]]:
        """The tokens, without the end token, that follow in rows (N, T) after the places (N,)."""
        raise ConfigError(f"a {type(self).__name__} writes no texts")

    def predict_text(self, text: str, question: str = "", beams: int = 1) -> dict[str, Any]:
        """The prediction of one text; its words are what white space parts, and `answer` needs a
        question.

        Raises:
            ConfigError: an empty text, a question that is missing or too much, or beams that do not
                fit.

        Example:
            model.predict_text("a fine film")["label"]
        """
        if not text.strip():
            raise ConfigError("the text is empty; give one of a word or more")
        if (self.encoder.task == "answer") != bool(question.strip()):
            needed = "needs a question" if self.encoder.task == "answer" else "takes no question"
            raise ConfigError(f"the task {self.encoder.task} {needed}")
        words = tuple(text.split())
        text = " ".join(words) if self.encoder.task == "tag" else text
        return self.predict([Example("the text", text, words=words, question=question)], beams)[0]

    def read(self, paths: Sequence[str], labelled: bool = True) -> list[Example]:
        """Examples of files, read by the field names that the model was trained with."""
        return read_examples(paths, self.config, labelled)

    def check(self, examples: Sequence[Example]) -> None:
        """Refuses examples that cannot be scored, before any is predicted.

        Raises:
            DataError: a label that the training examples do not have.
            ConfigError: a package that the metrics need is not installed.
        """
        from tfscale.tasks.metrics import check_metrics

        check_metrics(self.encoder.task)
        if isinstance(self.encoder, TaskEncoder):
            self.encoder.check_labels(examples)

    def score(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The task's metrics on labelled examples; see `tfscale.tasks.metrics.task_metrics`, and
        `check` for errors."""
        # scikit-learn and its like belong to the training installation.
        from tfscale.tasks.metrics import task_metrics

        encoder = self.encoder
        self.check(examples)
        return task_metrics(
            encoder.task, examples, self.predict(examples), encoder.labels, encoder.several
        )
