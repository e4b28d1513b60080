"""Any Keras models, and the programs that one chip of several would get of their steps.

Shapes: B rows of the global batch, b = B / 4 rows of a chip, T tokens of a row.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

import tfscale
from benchmarks import fit_models
from tests.workflows.tpu_check.one_of_several import OneOfSeveral
from tfscale.training.model import Model
from tfscale.workflows.tpu_check.lowering import Lowered, lower

CHIPS = 4
ROWS = 8
"""Rows of a chip (b)."""


@dataclass(frozen=True)
class Case:
    """A model, a global batch, and how it is compiled.

    Attributes:
        network: returns a network with new weights.
        batch: function of a number of rows: inputs and targets.
        loss: as `compile` takes it.
        metrics: as `compile` takes them.
        micro_batches: of a step.
        all_reduces: sums over the chips in the compiled train step, of which each joins many tensors.
    """

    network: Callable[[], keras.Model]
    batch: Callable[[int], tuple[np.ndarray, np.ndarray]]
    loss: object
    metrics: Callable[[], list]
    micro_batches: int
    all_reduces: int


def classifier() -> keras.Model:
    """Returns embedding, bidirectional LSTM and Dense: ids (B, T) -> probabilities (B, 2)."""
    return keras.Sequential(
        [
            keras.Input((16,), dtype="int32"),
            keras.layers.Embedding(50, 16, mask_zero=True),
            keras.layers.Bidirectional(keras.layers.LSTM(16)),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(2, "softmax", dtype="float32"),
        ]
    )


def reviews(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids (rows, T) that end in zeros, and one-hot classes (rows, 2)."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 50, (rows, 16)).astype("int32")
    ids[:, 12:] = 0
    return ids, np.eye(2, dtype="float32")[rng.integers(0, 2, rows)]


def cnn() -> keras.Model:
    """Returns a convolution, normalized over all chips, and Dense: images -> logits (B, 10)."""
    return keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras.layers.Conv2D(8, 3),
            keras.layers.BatchNormalization(synchronized=True),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, dtype="float32"),
        ]
    )


def images(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images (rows, 16, 16, 1) and their classes (rows,)."""
    rng = np.random.default_rng(0)
    return rng.random((rows, 16, 16, 1), "float32"), rng.integers(0, 10, rows).astype("int32")


_LANGUAGE = fit_models.MODELS[fit_models.LANGUAGE]
_OF_LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
CASES = {
    "lstm": Case(
        classifier,
        reviews,
        "categorical_crossentropy",
        lambda: ["accuracy", keras.metrics.AUC(name="auc")],
        micro_batches=2,
        all_reduces=1,
    ),
    # Batch normalization needs its two sums over all chips at once, forward and backward.
    "cnn": Case(cnn, images, _OF_LOGITS, lambda: ["accuracy"], micro_batches=1, all_reduces=3),
    "transformer": Case(
        _LANGUAGE.network, _LANGUAGE.data, _OF_LOGITS, lambda: [], micro_batches=2, all_reduces=1
    ),
}


def compiled_model(case: Case, xla: bool | None = None) -> Model:
    """Returns a model in the current strategy's scope, compiled, with Adam and clipping."""
    keras.utils.set_random_seed(0)
    model = tfscale.Model(case.network())
    model.compile(
        keras.optimizers.Adam(1e-3),
        loss=case.loss,
        metrics=case.metrics(),
        clip_norm=1.0,
        micro_batches=case.micro_batches,
        xla=xla,
    )
    return model


def lower_model_steps(case: Case) -> list[Lowered]:
    """Returns the train and the evaluation step of one of four chips.

    As `fit` does, it looks at a first batch of random numbers before it makes the step.
    """
    strategy = OneOfSeveral(CHIPS)
    with strategy.scope():
        model = compiled_model(case)
    data = tuple(map(tf.constant, case.batch(CHIPS * ROWS)))
    spec = tf.nest.map_structure(tf.type_spec_from_value, data)
    with strategy.scope():
        model._symbolic_build(data_batch=data)
    model.make_train_function()._look(data, spec)
    evaluation = model.make_test_function()
    evaluation._make(None, data, spec)
    step = model.train_step_runner

    def train(replica, rows, x, y):
        with strategy.replica_context(replica):
            return step.gradients_and_update((x, y, None), rows, True, CHIPS * ROWS)

    def evaluate(replica, rows, x, y):
        with strategy.replica_context(replica):
            return evaluation._of_replica((x, y, None), rows, True, CHIPS * ROWS)

    arguments = (tf.constant(0), tf.constant(float(CHIPS * ROWS)), *(part[:ROWS] for part in data))
    weights = sum(variable.numpy().nbytes for variable in step.variables)
    state = sum(variable.numpy().nbytes for variable in step.state().values())
    functions = {"train": train, "evaluation": evaluate}
    return [
        lower(name, tf.function(function, jit_compile=True), arguments, weights, state)
        for name, function in functions.items()
    ]
