"""The examples of a fine-tuning: read, held out, encoded and balanced.

Shapes: N examples, T tokens of a row, P predictions of an example.
"""

import collections
from collections.abc import Sequence

import numpy as np

from tfscale.config.tasks import TaskConfig
from tfscale.errors import DataError
from tfscale.tasks.examples import Example, read_examples
from tfscale.tasks.predictor import field_names
from tfscale.tasks.task import Task

FILES = ("train", "validation", "test")
"""The splits, which are also the options that name their files."""
HELD_OUT = 0.1
"""Part of the training examples that validates where there are no validation files."""

Splits = dict[str, list[Example]]
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Ids (N, T) int32, targets (N, P) int32 and weights (N, P) float32."""


def read_splits(config: TaskConfig) -> Splits:
    """Returns the examples of each split that has files, and of the validation split in any case.

    Raises:
        DataError: a file that does not fit the task, or too few examples to hold some out.
    """
    fields = field_names(config)
    splits = {
        name: read_examples(paths, config.task, fields)
        for name in FILES
        if (paths := getattr(config, name))
    }
    if "validation" not in splits:
        rows = splits["train"]
        if len(rows) < 10:
            raise DataError(
                f"{len(rows)} training examples are too few to hold some out; give validation files"
            )
        validating = held_out(rows, np.random.default_rng(config.seed))
        splits["validation"] = [rows[at] for at in sorted(validating)]
        splits["train"] = [row for at, row in enumerate(rows) if at not in validating]
    return splits


def held_out(rows: Sequence[Example], rng: np.random.Generator) -> set[int]:
    """Returns the places of the examples that validate: random ones, but never all that have a
    label.

    Raises:
        DataError: every example has a label that no other one has.
    """
    left = collections.Counter(label for row in rows for label in set(row.labels))
    chosen: set[int] = set()
    wanted = max(1, int(len(rows) * HELD_OUT))
    for at in rng.permutation(len(rows)).tolist():
        labels = set(rows[at].labels)
        if len(chosen) < wanted and all(left[label] > 1 for label in labels):
            chosen.add(at)
            left.subtract(labels)
    if not chosen:
        raise DataError(
            "every training example has a label that no other one has; give validation files"
        )
    return chosen


def encode_examples(task: Task, examples: Sequence[Example]) -> Arrays:
    """Returns ids, targets and weights of examples.

    Raises:
        DataError: a label that the task does not have.
    """
    encoded = [task.encode(example) for example in examples]
    targets = [task.targets(*pair) for pair in zip(examples, encoded, strict=True)]
    return (
        np.stack([row.ids for row in encoded]),
        np.stack([classes for classes, _ in targets]),
        np.stack([weights for _, weights in targets]),
    )


def balanced(arrays: Arrays, config: TaskConfig) -> Arrays:
    """Returns examples with one label each in which rare labels count as much as frequent ones, by
    their weights or by drawing them more often, as the options say."""
    if config.balance == "none":
        return arrays
    ids, targets, weights = arrays
    numbers = targets[:, 0]
    counts = np.bincount(numbers)
    if config.balance == "weights":
        # Every label weighs the same, and the mean weight is 1.
        each = len(numbers) / ((counts > 0).sum() * np.maximum(counts, 1))
        return ids, targets, weights * each[numbers][:, None].astype(np.float32)
    rng = np.random.default_rng(config.seed)
    chosen = []
    for number in np.flatnonzero(counts):
        places = np.flatnonzero(numbers == number)
        chosen.append(np.concatenate([places, rng.choice(places, counts.max() - len(places))]))
    order = np.concatenate(chosen)
    return ids[order], targets[order], weights[order]
