"""Losses, in every form that `compile` takes."""

from collections.abc import Callable

import keras
import numpy as np

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Losses"
X, Y = samples.regression()
W = samples.weights_of()
ops = keras.ops
losses = keras.losses


def per_row(y_true: object, y_pred: object) -> object:
    """Returns a loss (B,)."""
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def per_value(y_true: object, y_pred: object) -> object:
    """Returns a loss (B, OUTPUTS)."""
    return ops.square(y_true - y_pred)


def scalar(y_true: object, y_pred: object) -> object:
    """Returns one loss of the whole batch."""
    return ops.mean(ops.square(y_true - y_pred))


class Cubed(losses.Loss):
    """A loss of one's own."""

    def call(self, y_true: object, y_pred: object) -> object:
        return ops.mean(ops.abs(y_true - y_pred) ** 3, axis=-1)


@habits(
    GROUP,
    {
        "a string": lambda: "mse",
        "a long string": lambda: "mean_absolute_error",
        "a class": lambda: losses.Huber(delta=0.2),
        "a function of Keras": lambda: losses.log_cosh,
        "cosine similarity": lambda: losses.CosineSimilarity(axis=-1),
        "a sum over rows": lambda: losses.MeanSquaredError(reduction="sum"),
        "no reduction": lambda: losses.MeanSquaredError(reduction=None),
        "a mean by weights": lambda: losses.MeanSquaredError("mean_with_sample_weight"),
        "a function of values (B,)": lambda: per_row,
        "a function of one value": lambda: scalar,
        "a lambda": lambda: lambda y_true, y_pred: ops.sum((y_true - y_pred) ** 2, axis=-1),
        "a class of one's own": lambda: Cubed(),
    },
)
def loss_as(trial: Trial, make: Callable[[], object]) -> None:
    """`loss` as {}, without and with `sample_weight`"""
    model = trial.compiled(samples.dense(), make(), metrics=["mae"])
    trial.fit(model, X, Y, batch_size=8, batches=False)
    trial.fit(model, X, Y, batch_size=8, sample_weight=W, batches=False)
    trial.evaluate(model, X, Y, batch_size=8)


@habit(GROUP)
def loss_of_values(trial: Trial) -> None:
    """a loss function of values (B, C), which are averaged over both"""
    model = trial.compiled(samples.dense(), per_value)
    trial.fit(model, X, Y, batch_size=8)


@habits(
    GROUP,
    {
        "sparse crossentropy": (samples.labelled, "sparse_categorical_crossentropy", "softmax"),
        "crossentropy of logits": (
            samples.labelled,
            losses.SparseCategoricalCrossentropy(from_logits=True),
            None,
        ),
        "ignored classes": (
            samples.labelled,
            losses.SparseCategoricalCrossentropy(ignore_class=1),
            "softmax",
        ),
        "smoothed labels": (
            samples.one_hot,
            losses.CategoricalCrossentropy(label_smoothing=0.1),
            "softmax",
        ),
        "focal crossentropy": (samples.one_hot, losses.CategoricalFocalCrossentropy(), "softmax"),
        "divergence": (samples.one_hot, "kl_divergence", "softmax"),
        "a hinge": (samples.one_hot, "categorical_hinge", None),
        "dice": (samples.one_hot, losses.Dice(), "softmax"),
    },
    slow=True,
)
def loss_of_classes(trial: Trial, case: tuple[Callable[[], samples.Arrays], object, str]) -> None:
    """`loss` of a classifier: {}"""
    make, loss, activation = case
    model = trial.compiled(samples.dense(3, activation), loss, metrics=["accuracy"])
    trial.fit(model, *make(), batch_size=8, epochs=2, batches=False)


@habits(
    GROUP,
    {
        "binary crossentropy of logits": losses.BinaryCrossentropy(from_logits=True),
        "focal": losses.BinaryFocalCrossentropy(from_logits=True, apply_class_balancing=True),
        "squared hinge": "squared_hinge",
    },
    slow=True,
)
def loss_of_two_classes(trial: Trial, loss: object) -> None:
    """`loss` of a binary classifier: {}"""
    model = trial.compiled(samples.dense(1), loss)
    trial.fit(model, *samples.binary(), batch_size=8, epochs=2, batches=False)


SPARSE = "sparse_categorical_crossentropy"


@habits(
    GROUP,
    {
        "a dict": (True, {"value": "mae", "kind": SPARSE}, None),
        "a dict with weights": (True, samples.TWO_LOSSES, {"value": 0.2, "kind": 3.0}),
        "a dict in other order": (True, {"kind": SPARSE, "value": "mae"}, None),
        "a list": (False, ["mse", SPARSE], None),
        "a list with weights": (False, ["mse", SPARSE], [0.5, 2.0]),
        "a dict of list outputs": (False, samples.TWO_LOSSES, {"value": 2.0, "kind": 0.1}),
    },
)
def loss_of_outputs(trial: Trial, case: tuple[bool, object, object]) -> None:
    """`loss` of two outputs: {}; the logs hold each output's loss"""
    as_dict, loss, weights = case
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(as_dict), loss, loss_weights=weights)
    y = targets if as_dict or isinstance(loss, dict) else list(targets.values())
    trial.fit(model, x, y, batch_size=8, epochs=2)
    trial.evaluate(model, x, y, batch_size=8)


@habit(GROUP, slow=True)
def loss_weights_of_one_output(trial: Trial) -> None:
    """`loss_weights` as one number"""
    model = trial.compiled(samples.dense(), loss_weights=0.3)
    trial.fit(model, X, Y, batch_size=8)


@habit(GROUP)
def loss_of_one_output_only(trial: Trial) -> None:
    """None for the loss of one output of a dict"""
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(), {"value": "mse", "kind": None})
    trial.fit(model, x, targets, batch_size=8)


@habit(GROUP, slow=True)
def loss_of_first_output_only(trial: Trial) -> None:
    """`loss=["mse", None]` and targets of the first output alone"""
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(False), ["mse", None])
    trial.fit(model, x, targets["value"], batch_size=8)


@habit(GROUP, slow=True)
def one_loss_for_all(trial: Trial) -> None:
    """one string as the loss of two outputs"""
    inputs = keras.Input((4,))
    network = keras.Model(inputs, [keras.layers.Dense(3)(inputs), keras.layers.Dense(3)(inputs)])
    model = trial.compiled(network, "mse")
    trial.fit(model, X, [Y, -Y], batch_size=8)


@habits(
    GROUP,
    {
        "kernel_regularizer": {"kernel_regularizer": "l2"},
        "bias_regularizer": {"bias_regularizer": keras.regularizers.L1(0.05)},
        "activity_regularizer": {"activity_regularizer": keras.regularizers.L2(0.05)},
        "all three": {
            "kernel_regularizer": keras.regularizers.L1L2(0.01, 0.01),
            "bias_regularizer": "l2",
            "activity_regularizer": "l1",
        },
    },
)
def regularized(trial: Trial, options: dict[str, object]) -> None:
    """layers with {}"""
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, **options), keras.layers.Dense(3)]
    )
    model = trial.compiled(network, metrics=["mse"])
    trial.fit(model, X, Y, batch_size=8, epochs=2, validation_data=(X, Y))


@habit(GROUP)
def added_loss(trial: Trial) -> None:
    """`add_loss` in a layer of one's own, on top of the loss of `compile`"""

    class Sparse(keras.layers.Layer):
        def call(self, inputs: object) -> object:
            self.add_loss(0.1 * ops.mean(ops.abs(inputs)))
            return inputs

    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5), Sparse(), keras.layers.Dense(3)]
    )
    model = trial.compiled(network)
    trial.fit(model, X, Y, batch_size=8, epochs=2)
    trial.evaluate(model, X, Y, batch_size=8)


@habit(GROUP)
def regularizer_by_hand(trial: Trial) -> None:
    """the loss of a batch is the mean square plus the regularizer, by a sum in NumPy"""
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5))]
    )
    kernel = network.layers[0].kernel.numpy()
    model = trial.compiled(network)
    trial.keep("loss", model.train_on_batch(X, Y))
    square = np.mean((X @ kernel - Y) ** 2)
    trial.expect("loss", square + 0.5 * np.sum(kernel**2))
    trial.keep("gradient step", network.layers[0].kernel)
    gradient = 2 * X.T @ (X @ kernel - Y) / Y.size + kernel
    trial.expect("gradient step", kernel - 0.01 * gradient)


@habit(GROUP, slow=True)
def targets_without_loss(trial: Trial) -> None:
    """targets are given, though the network's own loss is the only one"""

    class Cost(keras.layers.Layer):
        def call(self, inputs: object) -> object:
            self.add_loss(ops.sum(inputs))
            return inputs

    network = keras.Sequential([keras.layers.Dense(2), Cost(), keras.layers.Dense(1)])
    trial.fit(trial.compiled(network, None, "adam"), X, Y[:, :1], batch_size=8)
