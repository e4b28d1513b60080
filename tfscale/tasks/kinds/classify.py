"""`classify`: one label of a text, or several."""

import collections
from collections.abc import Sequence

import numpy as np

from tfscale.config.tasks import TaskConfig
from tfscale.errors import ConfigError, DataError
from tfscale.files.json_text import JsonObject
from tfscale.registry import register
from tfscale.tasks.examples import Example, FieldNames, field_of, text_of
from tfscale.tasks.task import Task
from tfscale.tasks.values import Encoded, GroupScores, Prediction, Shape, log_probabilities
from tfscale.text.tokenizers import Tokenizer
from tfscale.ui.tables import number


@register
class Classify(Task):
    """One label of a text, or any number of labels, each a yes or no.

    Predictions have `label` (or `labels`) and `probabilities` by label. The baseline is the most
    frequent label of the training examples, or all labels that more than half of them have.
    """

    name = "classify"
    summary = "one or several labels of a text"
    title = "Labels of texts"
    metric = "accuracy"
    package = "sklearn"
    takes = ("sequence_length", "freeze", "labels_separator", "balance")
    explains = True

    def __init__(self, config: TaskConfig, tokenizer: Tokenizer, shape: Shape):
        super().__init__(config, tokenizer, shape)
        self.several = bool(config.labels_separator)
        self.group_package = "" if self.several else "fairlearn"

    @classmethod
    def check_options(cls, config: TaskConfig) -> None:
        super().check_options(config)
        if config.balance != "none" and config.labels_separator:
            raise ConfigError(f"balance={config.balance!r} is for classify with one label per text")

    @classmethod
    def example(cls, row: JsonObject, where: str, fields: FieldNames, labelled: bool) -> Example:
        text = text_of(row, fields.text, where)
        if not labelled:
            return Example(where, text, fields=row)
        value = field_of(row, fields.label, where)
        if fields.labels_separator:
            names = value if isinstance(value, list) else str(value).split(fields.labels_separator)
            labels = tuple(dict.fromkeys(str(name).strip() for name in names if str(name).strip()))
            return Example(where, text, labels, fields=row)
        if isinstance(value, list):
            raise DataError(
                f"{where}: several labels {value}; for texts with several give --labels-separator"
            )
        label = str(value).strip()
        if not label:
            raise DataError(f"{where}: the label is empty")
        return Example(where, text, (label,), fields=row)

    def encode(self, example: Example) -> Encoded:
        text = self.tokenizer.cleaner(example.text)
        return Encoded(self.window([self.tokenizer.start_id, *self.tokenizer.encode(text)]))

    def targets(self, example: Example, encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
        if not self.several:
            return super().targets(example, encoded)
        targets = np.zeros(len(self.labels), np.int32)
        targets[[self.label_number(label, example) for label in example.labels]] = 1
        return targets, np.full(len(self.labels), 1 / len(self.labels), np.float32)

    def decode(self, logits: np.ndarray, example: Example, encoded: Encoded) -> JsonObject:
        logs = log_probabilities(logits)
        chances = np.exp(logs[:, 1] if self.several else logs[0])
        named = dict(zip(self.labels, map(float, chances), strict=True))
        if self.several:
            likely = [label for label, chance in named.items() if chance > 0.5]
            return {"labels": likely, "probabilities": named}
        return {"label": max(named, key=lambda label: named[label]), "probabilities": named}

    def show(self, prediction: JsonObject) -> str:
        labels = prediction["labels"] if self.several else [prediction["label"]]
        chances = prediction["probabilities"]
        return ", ".join(f"{label} {number(chances[label])}" for label in labels) or "(none)"

    def metrics(self, examples: Sequence[Example], predictions: Sequence[JsonObject]) -> JsonObject:
        """Returns `accuracy`, `precision`, `recall` and `f1` (means over the labels), `f1_weighted`
        and `by_label`; for several labels also `f1_micro`, and accuracy means that all are right.
        """
        from sklearn.metrics import accuracy_score, precision_recall_fscore_support

        options: JsonObject = {"zero_division": 0.0}
        truth: list[str] | list[list[int]]
        given: list[str] | list[list[int]]
        if self.several:
            truth = [[int(label in e.labels) for label in self.labels] for e in examples]
            given = [[int(label in p["labels"]) for label in self.labels] for p in predictions]
            if len(self.labels) == 1:
                # One column is taken for two classes, of which only one is a label.
                options["labels"] = [1]
        else:
            truth, given = [e.labels[0] for e in examples], [p["label"] for p in predictions]
            options["labels"] = self.labels

        def scores(average: str | None) -> tuple[np.ndarray, ...]:
            return precision_recall_fscore_support(truth, given, average=average, **options)

        precision, recall, f1, _ = scores("macro")
        figures = {
            "examples": len(examples),
            "accuracy": float(accuracy_score(truth, given)),
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "f1_weighted": float(scores("weighted")[2]),
            "by_label": {
                label: {
                    "precision": float(p),
                    "recall": float(r),
                    "f1": float(f),
                    "examples": int(n),
                }
                for label, p, r, f, n in zip(self.labels, *scores(None), strict=True)
            },
        }
        if self.several:
            figures["f1_micro"] = float(scores("micro")[2])
        return figures

    def baseline(self, train: Sequence[Example], examples: Sequence[Example]) -> list[JsonObject]:
        counts = collections.Counter(label for example in train for label in example.labels)
        if self.several:
            frequent = [label for label in self.labels if 2 * counts[label] > len(train)]
            return [{"labels": frequent} for _ in examples]
        return [{"label": counts.most_common(1)[0][0]} for _ in examples]

    def group_scores(
        self, examples: Sequence[Example], predictions: Sequence[Prediction]
    ) -> GroupScores:
        if self.several:
            return super().group_scores(examples, predictions)
        pairs = zip(examples, predictions, strict=True)
        right = [float(example.labels[0] == prediction["label"]) for example, prediction in pairs]
        return GroupScores(right, lambda chosen: float(np.mean(chosen)))

    def compare_groups(
        self,
        examples: Sequence[Example],
        predictions: Sequence[Prediction],
        groups: Sequence[str],
    ) -> dict[str, object]:
        """Returns `equalized_odds`, by label; see `tfscale.tasks.odds`. Nothing where a text has
        several labels."""
        if self.several:
            return {}
        from tfscale.tasks.odds import equalized_odds

        truth = [example.labels[0] for example in examples]
        given = [prediction["label"] for prediction in predictions]
        return {"equalized_odds": equalized_odds(truth, given, groups, self.labels)}

    def counted(self, examples: Sequence[Example], encoded: Sequence[Encoded]) -> np.ndarray:
        return np.ones((len(examples), self.logits_shape[0]), bool)
