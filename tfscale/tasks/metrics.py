"""How well a task is done, by scikit-learn and nervaluate, beside what it costs nothing to reach.

The baselines: the most frequent label of the training examples; for tags each word's most frequent
tag there, O for others; for answers none at all; for texts see `tfscale.tasks.text_metrics`.
"""

import collections
from collections.abc import Sequence
from typing import Any

from tfscale.config.tasks import WRITTEN
from tfscale.errors import check_installed
from tfscale.tasks.examples import OUTSIDE, Example
from tfscale.tasks.text_metrics import text_baseline, text_metrics

HEADLINE = {
    "classify": "accuracy",
    "tag": "f1",
    "answer": "f1",
    "translate": "chrf",
    "summarize": "rougeL",
}
"""The metric of each task by which models are compared."""
_NEEDED = {
    "classify": "sklearn",
    "tag": "nervaluate",
    "translate": "sacrebleu",
    "summarize": "rouge_score",
}


def check_metrics(task: str) -> None:
    """Refuses a task whose metrics cannot be computed for want of a package, before it is trained
    or predicted.

    Raises:
        ConfigError: names the package and how to get it.
    """
    if task in _NEEDED:
        check_installed("tasks", _NEEDED[task])


def task_metrics(
    task: str,
    examples: Sequence[Example],
    predictions: Sequence[dict[str, Any]],
    labels: Sequence[str],
    several: bool,
) -> dict[str, Any]:
    """Scores of predictions.

    Args:
        task: one of `TaskConfig`.
        examples: with their labels.
        predictions: as the encoder's `decode` gives them, one for each.
        labels: names of all labels.
        several: whether a text may have several labels or none.

    Returns:
        classify: `accuracy`, `precision`, `recall` and `f1` (means over the labels), `f1_weighted`,
            `by_label`; of
        several labels also `f1_micro`, and accuracy means that all are right. tag: `accuracy` of
            tags, `precision`,
        `recall` and `f1` of whole entities, `by_type`. answer: `exact_match` and `f1` of words.
            translate and
        summarize: see `tfscale.tasks.text_metrics`.

    Example:
        task_metrics("classify", examples, model.predict(examples), ["bad", "good"], several=False)["f1"]
    """
    if task in WRITTEN:
        return text_metrics(task, examples, predictions)
    if task == "classify":
        return _of_labels(examples, predictions, labels, several)
    if task == "tag":
        return _of_tags([list(e.labels) for e in examples], [p["tags"] for p in predictions])
    pairs = [(e.answer, p["answer"]) for e, p in zip(examples, predictions, strict=True)]
    return {
        "examples": len(pairs),
        "exact_match": sum(_normal(a) == _normal(b) for a, b in pairs) / len(pairs),
        "f1": sum(_overlap(a, b) for a, b in pairs) / len(pairs),
    }


def baseline(task: str, train: Sequence[Example], labels: Sequence[str], several: bool) -> Any:
    """A function from examples to the predictions that need no model; see the module's first
    lines."""
    if task in WRITTEN:
        return text_baseline(task, train)
    if task == "classify" and several:
        frequent = [
            label for label in labels if 2 * sum(label in e.labels for e in train) > len(train)
        ]
        return lambda examples: [{"labels": frequent} for _ in examples]
    if task == "classify":
        most = collections.Counter(label for e in train for label in e.labels).most_common(1)[0][0]
        return lambda examples: [{"label": most} for _ in examples]
    if task == "tag":
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for example in train:
            for word, tag in zip(example.words, example.labels, strict=True):
                counts[word][tag] += 1
        return lambda examples: [
            {"tags": [counts[w].most_common(1)[0][0] if w in counts else OUTSIDE for w in e.words]}
            for e in examples
        ]
    return lambda examples: [{"answer": ""} for _ in examples]


def _of_labels(
    examples: Sequence[Example],
    predictions: Sequence[dict[str, Any]],
    labels: Sequence[str],
    several: bool,
) -> dict[str, Any]:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    if several:
        truth: Any = [[int(label in e.labels) for label in labels] for e in examples]
        found: Any = [[int(label in p["labels"]) for label in labels] for p in predictions]
        options: dict[str, Any] = {"zero_division": 0.0}
        if len(labels) == 1:
            options["labels"] = [
                1
            ]  # One column is taken for two classes, of which only one is a label.
    else:
        truth, found = [e.labels[0] for e in examples], [p["label"] for p in predictions]
        options = {"labels": list(labels), "zero_division": 0.0}
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, found, average="macro", **options
    )
    weighted = precision_recall_fscore_support(truth, found, average="weighted", **options)[2]
    each = precision_recall_fscore_support(truth, found, average=None, **options)
    figures = {
        "examples": len(examples),
        "accuracy": float(accuracy_score(truth, found)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "f1_weighted": float(weighted),
        "by_label": {
            label: {"precision": float(p), "recall": float(r), "f1": float(f), "examples": int(n)}
            for label, p, r, f, n in zip(labels, *each, strict=True)
        },
    }
    if several:
        figures["f1_micro"] = float(
            precision_recall_fscore_support(truth, found, average="micro", **options)[2]
        )
    return figures


def _of_tags(truth: list[list[str]], found: list[list[str]]) -> dict[str, Any]:
    from nervaluate import Evaluator

    right = sum(
        a == b
        for one, other in zip(truth, found, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    total = sum(map(len, truth))
    kinds = sorted({tag[2:] for tags in [*truth, *found] for tag in tags if tag != OUTSIDE})
    figures: dict[str, Any] = {
        "examples": len(truth),
        "accuracy": right / total,
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "by_type": {},
    }
    if not kinds:
        return figures
    result = Evaluator(truth, found, tags=kinds, loader="list").evaluate()
    for name in ("precision", "recall", "f1"):
        figures[name] = float(getattr(result["overall"]["strict"], name))
    figures["by_type"] = {
        kind: {
            name: float(getattr(result["entities"][kind]["strict"], name))
            for name in ("precision", "recall", "f1")
        }
        for kind in kinds
    }
    return figures


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def _overlap(truth: str, found: str) -> float:
    """F1 of the words of two answers (Rajpurkar et al. 2016); 1 where both are empty."""
    one, other = (
        collections.Counter(_normal(truth).split()),
        collections.Counter(_normal(found).split()),
    )
    if not one or not other:
        return float(one == other)
    same = sum((one & other).values())
    return 2 * same / (sum(one.values()) + sum(other.values()))
