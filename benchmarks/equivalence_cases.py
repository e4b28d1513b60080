"""The trainings of `make equivalence` that compare `tfscale.Model` with stock Keras.

Each is what somebody writes with Keras, without a word of tfscale.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import keras

from benchmarks.equivalence_models import (
    ROWS,
    Rows,
    classifier,
    cnn,
    images,
    labelled,
    measured,
    regression,
    text_classifier,
    texts,
    texts_and_numbers,
    two_outputs,
)


@dataclass(frozen=True)
class ModelCase:
    """A training with Keras.

    Attributes:
        name: one word.
        title: what it is, for the table.
        network: makes the network; it is called with the same seed everywhere.
        rows: makes the data.
        compile: makes the arguments of `compile`, the optimizer aside.
        optimizer: makes the optimizer.
        fit: arguments of `fit`, data and batches aside.
        refused: what `tfscale.Model` refuses: nothing, micro-batches, or "parts", which are several
            replicas as well.
        quick: whether it is in the short form, too.
    """

    name: str
    title: str
    network: Callable[[], keras.Model]
    rows: Callable[[], Rows]
    compile: Callable[[], dict[str, Any]]
    optimizer: Callable[[], keras.optimizers.Optimizer] = lambda: keras.optimizers.SGD(
        0.05, momentum=0.9
    )
    fit: dict[str, Any] = field(default_factory=dict)
    refused: Literal["", "micro_batches", "parts"] = ""
    quick: bool = False


def log_cosh_of_rows(y_true, y_pred):
    """A loss of each row, (B,)."""
    return keras.ops.mean(keras.ops.log(keras.ops.cosh(y_pred - y_true)), axis=-1)


def mean_of_squares(y_true, y_pred):
    """A loss of the whole batch, ()."""
    return keras.ops.mean(keras.ops.square(y_pred - y_true))


@keras.saving.register_keras_serializable("equivalence")
class F1(keras.metrics.Metric):
    """F1 of class 0, from three counts: a quotient of sums, no mean over batches."""

    def __init__(self, name: str = "f1", **keywords: Any):
        super().__init__(name=name, **keywords)
        self.right, self.found, self.wanted = (
            self.add_variable((), "zeros", name=n) for n in ("right", "found", "wanted")
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        wanted = keras.ops.cast(keras.ops.reshape(y_true, (-1,)) == 0, "float32")
        found = keras.ops.cast(keras.ops.argmax(y_pred, axis=-1) == 0, "float32")
        for total, counted in (
            (self.right, wanted * found),
            (self.found, found),
            (self.wanted, wanted),
        ):
            total.assign(total + keras.ops.sum(counted))

    def result(self):
        return 2 * self.right / keras.ops.maximum(self.found + self.wanted, 1.0)


def by_labels() -> dict[str, Any]:
    """Makes the arguments of `compile` for a classifier that ends in a softmax."""
    return {
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")],
    }


_ALL = [
    ModelCase(
        "classifier",
        "classifier of numbers (`Normalization`, `LayerNormalization`, L2)",
        classifier,
        labelled,
        by_labels,
    ),
    ModelCase(
        "clipping",
        "the same with `global_clipnorm`",
        classifier,
        labelled,
        by_labels,
        lambda: keras.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=0.1),
        quick=True,
    ),
    ModelCase(
        "text",
        "embedding + bidirectional LSTM + sigmoid; accuracy and AUC",
        text_classifier,
        texts,
        lambda: {
            "loss": "binary_crossentropy",
            "metrics": ["accuracy", keras.metrics.AUC(name="auc")],
        },
        lambda: keras.optimizers.SGD(0.5, momentum=0.9),
    ),
    ModelCase(
        "two_outputs",
        "two inputs, two outputs: one masked, both weighted, `loss_weights`",
        two_outputs,
        texts_and_numbers,
        lambda: {
            "loss": ["mse", keras.losses.SparseCategoricalCrossentropy(from_logits=True)],
            "loss_weights": [0.7, 1.3],
            "metrics": [["mae"], ["accuracy"]],
            "weighted_metrics": [["mse"], ["accuracy"]],
        },
    ),
    ModelCase("cnn", "CNN", cnn, images, by_labels),
    ModelCase(
        "batch_normalization",
        "CNN with `BatchNormalization`",
        lambda: cnn(keras.layers.BatchNormalization),
        images,
        by_labels,
        refused="parts",
    ),
    ModelCase(
        "synchronized",
        "CNN with `BatchNormalization(synchronized=True)`",
        lambda: cnn(lambda: keras.layers.BatchNormalization(synchronized=True)),
        images,
        by_labels,
        refused="micro_batches",
    ),
    ModelCase(
        "class_weight",
        "`class_weight`",
        classifier,
        labelled,
        lambda: {**by_labels(), "weighted_metrics": ["accuracy"]},
        fit={"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}},
    ),
    ModelCase(
        "loss_of_rows",
        "a loss function of one's own, a value for each row",
        regression,
        measured,
        lambda: {"loss": log_cosh_of_rows, "metrics": ["mae"]},
    ),
    ModelCase(
        "loss_of_batch",
        "a loss function of one's own, one number for the batch",
        regression,
        measured,
        lambda: {"loss": mean_of_squares, "metrics": ["mae"]},
    ),
    ModelCase(
        "metric",
        "a metric of one's own, F1 from three counts",
        classifier,
        labelled,
        lambda: {**by_labels(), "metrics": [F1()]},
    ),
    ModelCase(
        "smaller_batch",
        "a last batch of 36 rows",
        classifier,
        functools.partial(labelled, ROWS + 36),
        by_labels,
    ),
    ModelCase(
        "one_row",
        "a last batch of 1 row, fewer than replicas",
        classifier,
        functools.partial(labelled, ROWS + 1),
        by_labels,
        quick=True,
    ),
]
MODEL_CASES = {case.name: case for case in _ALL}
