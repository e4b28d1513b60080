"""`Task`: everything that one task is, from a row of its examples to the line of a prediction.

A task is one subclass of `Task` in one file, registered by `tfscale.register`; fine-tuning, scores,
predictions, exports and the device ask it. This module and the tasks in `kinds/` need NumPy alone:
a method that builds a network imports Keras when it is called.

Shapes: N examples, T tokens of a row, P predictions of an example, C labels.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from tfscale.config.tasks import TaskConfig
from tfscale.errors import ConfigError, check_installed
from tfscale.files.json_text import JsonObject
from tfscale.registry import TASKS
from tfscale.tasks.examples import Example, FieldNames
from tfscale.tasks.labels import Labelled
from tfscale.tasks.values import Computes, Encoded, GroupScores, Prediction, Shape

if TYPE_CHECKING:
    import keras

    from tfscale.runs.folder import Run
    from tfscale.tasks.network import HeadOptions

_NOT_IN_EVERY_TASK = (
    "labels_separator",
    "balance",
    "sequence_length",
    "freeze",
    "architecture",
    "source_length",
    "target_length",
)
"""Options that a task has to name in `takes`."""


class Task(Labelled, abc.ABC):
    """A task with the options, the tokenizer and the labels of one model.

    Training, device and export call the same object. A subclass declares the attributes below and
    implements the abstract methods; the other methods suit a task that gives a text one of several
    labels, and are overridden where another one differs. The loss is the cross-entropy of
    `targets`, weighted, by the logits of `head`.

    Attributes:
        name: as in `--task`.
        summary: what it does, for `--help`.
        title: heading of the README of its exported file.
        metric: the entry of `metrics` by which models are compared; higher is better.
        package: the package of the extra `tasks` that `metrics` imports; empty for none.
        takes: the options that it takes of those that not every task takes: labels_separator,
            balance, sequence_length, freeze, architecture, source_length, target_length.
        lengths: the entries of `Shape` that a description must have.
        learning_rate: peak learning rate where all weights of the run are trained.
        gives: "logits" for all predictions at once, or "text", token by token; what a network and
            an exported file are asked for.
        compared: how many examples an exported file and its network are compared on.
        takes_question: whether an example has a question besides its text.
        reads_words: whether examples are also read from files of words, such as CoNLL's.
        explains: whether `explain` can say why it gives a label: `decode` returns `probabilities`
            by label.

    Args:
        config: the options that the model was trained with.
        tokenizer: the model's.
        shape: labels and lengths.

    Example:
        @tfscale.register
        class Sentiment(Classify):
            name = "sentiment"
            metric = "f1"
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    title: ClassVar[str]
    metric: ClassVar[str]
    package: ClassVar[str] = ""
    takes: ClassVar[tuple[str, ...]] = ("sequence_length", "freeze")
    lengths: ClassVar[tuple[str, ...]] = ("sequence_length",)
    learning_rate: ClassVar[float] = 1e-4
    gives: ClassVar[Literal["logits", "text"]] = "logits"
    compared: ClassVar[int] = 64
    takes_question: ClassVar[bool] = False
    reads_words: ClassVar[bool] = False
    explains: ClassVar[bool] = False
    group_package: str = ""
    """The package of the extra `tasks` that `compare_groups` imports; empty for none."""

    @classmethod
    def enter_registry(cls) -> None:
        """Registers the task; see `tfscale.register`."""
        TASKS.add(cls.name, cls)

    # Before there is a model.

    @classmethod
    def check_options(cls, config: TaskConfig) -> None:
        """Refuses options that the task has no use for.

        Raises:
            ConfigError: names the option.
        """
        defaults = {item.name: item.default for item in dataclasses.fields(config)}
        for option in _NOT_IN_EVERY_TASK:
            if option not in cls.takes and getattr(config, option) != defaults[option]:
                raise ConfigError(
                    f"{option} is for {_names(task for task in TASKS if option in task.takes)};"
                    f" task={cls.name!r} has no use for it"
                )

    @classmethod
    def check_installed(cls) -> None:
        """Refuses to begin where the package of the metrics is missing.

        Raises:
            ConfigError: names the package and how to get it.
        """
        if cls.package:
            check_installed("tasks", cls.package)

    @classmethod
    @abc.abstractmethod
    def example(cls, row: JsonObject, where: str, fields: FieldNames, labelled: bool) -> Example:
        """Returns the example of a row of a file.

        Args:
            row: the row's fields.
            where: file and line, for messages.
            fields: the names of the fields with text and label.
            labelled: whether the label is needed; False reads what is to be predicted.

        Raises:
            DataError: a field that is missing or does not fit; the message begins with `where`.
        """

    @classmethod
    def shape_for(cls, run: "Run", config: TaskConfig, train: Sequence[Example]) -> Shape:
        """Returns labels and lengths of a model that is to be trained.

        Args:
            run: the run that is fine-tuned.
            config: the options.
            train: the training examples.

        Raises:
            ConfigError: a length that the run does not have.
            DataError: labels that teach nothing.
        """
        from tfscale.tasks.network import window_length

        return Shape(cls.label_names(config, train), window_length(run, config))

    # Examples to numbers.

    def text_example(self, text: str, question: str) -> Example:
        """Returns the example of a text, and a question where the task takes one, that a user
        typed."""
        return Example("the text", text, words=tuple(text.split()), question=question)

    @abc.abstractmethod
    def encode(self, example: Example) -> Encoded:
        """Returns an example as numbers, cut at T tokens; see `window`."""

    def window(self, tokens: Sequence[int]) -> np.ndarray:
        """Returns the ids (T,) int32 of tokens that begin with the start token: cut, and filled up
        with end tokens, of which there is at least one."""
        ids = np.full(self.sequence_length, self.tokenizer.end_id, np.int32)
        kept = list(tokens)[: self.sequence_length - 1]
        ids[: len(kept)] = kept
        return ids

    # The network.

    def network(self, run: "Run") -> "keras.Model":
        """Returns the network to train, on the weights of a run: ids (B, T) -> logits (B, P, C)."""
        from tfscale.tasks.network import HeadOptions, task_network

        options = HeadOptions(
            task=self.name,
            num_labels=len(self.labels),
            end_id=run.tokenizer.end_id,
            several=self.several,
            dropout=self.config.dropout,
            seed=self.config.seed,
        )
        return task_network(run, self.config, options)

    @classmethod
    def head(
        cls,
        features: "keras.KerasTensor",
        ids: "keras.KerasTensor",
        options: "HeadOptions",
        dtype: "keras.DTypePolicy",
    ) -> "keras.KerasTensor":
        """Returns logits (B, P, C) of features (B, T, D) and ids (B, T), by Keras layers of this
        type, the last of which with weights is named `head`."""
        from tfscale.tasks.network import text_head

        return text_head(features, ids, options, dtype)

    @property
    def network_note(self) -> str:
        """The output of the network in words, for the line that `finetune` prints."""
        return f"{len(self.labels)} labels"

    def summarize_cuts(
        self, splits: Mapping[str, Sequence[Example]], note: Callable[[str], None]
    ) -> dict[str, object]:
        """Returns what the summary of a fine-tuning says of examples that are too long, and notes
        it; nothing where a window is all that there is to say."""
        return {}

    # Numbers to predictions.

    def predict(
        self, model: Computes, examples: Sequence[Example], beams: int = 1
    ) -> list[Prediction]:
        """Returns the prediction of each example.

        Args:
            model: what computes.
            examples: what to predict for.
            beams: hypotheses of a beam search, where texts are written.

        Raises:
            ConfigError: beams for a task that does not write.
        """
        if beams > 1:
            writing = _names(task for task in TASKS if task.gives == "text")
            raise ConfigError(
                f"beams={beams} is for {writing}; the task {self.name} writes no texts"
            )
        encoded = [self.encode(example) for example in examples]
        logits = model.logits(np.stack([row.ids for row in encoded]))
        triples = zip(logits, examples, encoded, strict=True)
        return [Prediction(self.show, self.decode(*triple)) for triple in triples]

    @abc.abstractmethod
    def decode(self, logits: np.ndarray, example: Example, encoded: Encoded) -> JsonObject:
        """Returns the prediction that logits (P, C) stand for, as JSON has it."""

    @abc.abstractmethod
    def show(self, prediction: JsonObject) -> str:
        """Returns a prediction as a line for a person."""

    # Scores.

    @abc.abstractmethod
    def metrics(self, examples: Sequence[Example], predictions: Sequence[JsonObject]) -> JsonObject:
        """Returns `examples`, their number, and the scores of predictions for labelled examples."""

    @abc.abstractmethod
    def baseline(self, train: Sequence[Example], examples: Sequence[Example]) -> list[JsonObject]:
        """Returns predictions for `examples` that need no model, only the training examples."""

    def group_scores(
        self, examples: Sequence[Example], predictions: Sequence[Prediction]
    ) -> GroupScores:
        """Returns how groups of examples are scored: by `metric`, if not overridden."""

        def score(chosen: Sequence[tuple[Example, Prediction]]) -> float:
            known, predicted = zip(*chosen, strict=True)
            return float(self.metrics(known, predicted)[self.metric])

        return GroupScores(list(zip(examples, predictions, strict=True)), score, draws=100)

    def compare_groups(
        self,
        examples: Sequence[Example],
        predictions: Sequence[Prediction],
        groups: Sequence[str],
    ) -> dict[str, object]:
        """Returns what else is said of groups of examples, besides the score of each."""
        return {}

    # The exported file.

    @property
    def read_length(self) -> int:
        """How many tokens an exported file reads at once."""
        return self.sequence_length

    def counted(self, examples: Sequence[Example], encoded: Sequence[Encoded]) -> np.ndarray:
        """Returns the logits (N, P) bool that a file is compared on: those that have a weight."""
        pairs = zip(examples, encoded, strict=True)
        return np.stack([self.targets(*pair)[1] for pair in pairs]) > 0

    def random_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids (N, T) int32 to compare a file on where there are no examples, and the logits
        (N, P) bool that count."""
        return self.random_ids(), np.ones((self.compared, self.logits_shape[0]), bool)

    def random_ids(self) -> np.ndarray:
        """Returns `compared` rows of random tokens (N, T) int32."""
        size = (self.compared, self.sequence_length)
        ids = np.random.default_rng(0).integers(0, self.tokenizer.vocabulary_size, size)
        return ids.astype(np.int32)


def _names(tasks: Iterable[type[Task]]) -> str:
    """Returns the names of tasks as words of a sentence: "answer, classify and tag"."""
    *names, last = sorted(task.name for task in tasks)
    return f"{', '.join(names)} and {last}" if names else last
