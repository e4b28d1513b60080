"""Metrics, in every form that `compile` takes."""

from collections.abc import Callable

import keras
import keras_hub
import numpy as np

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Metrics"
X, Y = samples.regression()
W = samples.weights_of()
metrics = keras.metrics
SPARSE = "sparse_categorical_crossentropy"


def largest_error(y_true: object, y_pred: object) -> object:
    """Returns a metric (B,)."""
    return keras.ops.max(keras.ops.abs(y_true - y_pred), axis=-1)


def mean_prediction(y_true: object, y_pred: object) -> object:
    """Returns one number of the batch."""
    return keras.ops.mean(y_pred)


class Rows(metrics.Metric):
    """Counts rows, and sums their weights."""

    def __init__(self, name: str = "rows") -> None:
        super().__init__(name=name)
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        rows = keras.ops.cast(keras.ops.shape(y_true)[0], "float32")
        self.count.assign_add(
            rows
            if sample_weight is None
            else keras.ops.sum(keras.ops.cast(sample_weight, "float32"))
        )

    def result(self) -> object:
        return self.count


class Several(metrics.Metric):
    """A metric whose result is a dict."""

    def __init__(self) -> None:
        super().__init__(name="several")
        self.total = self.add_weight(name="total", initializer="zeros")

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        self.total.assign_add(keras.ops.sum(y_pred))

    def result(self) -> dict[str, object]:
        return {"total": self.total, "half": self.total / 2}


@habits(
    GROUP,
    {
        "strings": lambda: ["mae", "mean_squared_error"],
        "classes": lambda: [
            metrics.MeanAbsoluteError(name="error"),
            metrics.RootMeanSquaredError(),
        ],
        "functions": lambda: [largest_error, mean_prediction],
        "a class of one's own": lambda: [Rows()],
        "a metric of several results": lambda: [Several()],
        "R2 and correlation": lambda: [metrics.R2Score(), metrics.PearsonCorrelation()],
        "two of a kind": lambda: [metrics.MeanSquaredError(), metrics.MeanSquaredError()],
        "a mean of a function": lambda: [metrics.MeanMetricWrapper(largest_error, name="max")],
    },
)
def metrics_as(trial: Trial, make: Callable[[], list[object]]) -> None:
    """`metrics` as {}, unweighted and weighted, training and validation"""
    model = trial.compiled(samples.dense(), metrics=make())
    trial.fit(model, X, Y, batch_size=8, epochs=2, validation_data=(X, Y))
    trial.keep("names", model.metrics_names)
    trial.evaluate(model, X, Y, sample_weight=W, batch_size=8, return_dict=True)


@habits(
    GROUP,
    {
        "strings": lambda: ["mae", "mse"],
        "a class of one's own": lambda: [Rows("weight")],
        "functions": lambda: [largest_error],
    },
)
def weighted_metrics(trial: Trial, make: Callable[[], list[object]]) -> None:
    """`weighted_metrics` as {}"""
    model = trial.compiled(samples.dense(), weighted_metrics=make(), metrics=["mae"])
    trial.fit(model, X, Y, batch_size=8, epochs=2, sample_weight=W)


@habits(
    GROUP,
    {
        "integer labels": (samples.labelled, 3, "softmax", SPARSE),
        "one-hot labels": (samples.one_hot, 3, "softmax", "categorical_crossentropy"),
        "labels 0 and 1": (samples.binary, 1, "sigmoid", "binary_crossentropy"),
    },
)
def accuracy(trial: Trial, case: tuple[Callable[[], samples.Arrays], int, str, str]) -> None:
    """`metrics=["acc", "accuracy"]` with {}"""
    make, outputs, activation, loss = case
    model = trial.compiled(samples.dense(outputs, activation), loss, metrics=["acc", "accuracy"])
    trial.fit(model, *make(), batch_size=8, epochs=2)


@habits(
    GROUP,
    {
        "AUC": lambda: metrics.AUC(num_thresholds=20),
        "AUC of precision and recall": lambda: metrics.AUC(curve="PR", num_thresholds=20),
        "precision at two thresholds": lambda: metrics.Precision(thresholds=[0.4, 0.6]),
        "true positives": lambda: metrics.TruePositives(),
        "sensitivity": lambda: metrics.SensitivityAtSpecificity(0.5, num_thresholds=20),
        "binary IoU": lambda: metrics.BinaryIoU(),
    },
    slow=True,
)
def of_two_classes(trial: Trial, make: Callable[[], metrics.Metric]) -> None:
    """{} of a binary classifier"""
    model = trial.compiled(samples.dense(1, "sigmoid"), "binary_crossentropy", metrics=[make()])
    trial.fit(model, *samples.binary(), batch_size=8, epochs=2, batches=False)


@habits(
    GROUP,
    {
        "top-k": (samples.labelled, lambda: metrics.SparseTopKCategoricalAccuracy(2)),
        "F1": (samples.one_hot, lambda: metrics.F1Score(average="macro")),
        "F-beta by class": (samples.one_hot, lambda: metrics.FBetaScore(beta=2.0)),
        "mean IoU": (samples.labelled, lambda: metrics.MeanIoU(3, sparse_y_pred=False)),
        "divergence": (samples.one_hot, lambda: metrics.KLDivergence()),
        "Perplexity": (samples.labelled, lambda: keras_hub.metrics.Perplexity()),
    },
    slow=True,
)
def of_classes(trial: Trial, case: tuple[Callable[[], samples.Arrays], object]) -> None:
    """{} of a classifier"""
    make, metric = case
    x, y = make()
    loss = SPARSE if y.ndim == 1 else "categorical_crossentropy"
    model = trial.compiled(samples.classifier(), loss, metrics=[metric()])
    trial.fit(model, x, y, batch_size=8, epochs=2, batches=False)


@habits(
    GROUP,
    {
        "a dict of strings": (True, {"value": "mae", "kind": "accuracy"}),
        "a dict of lists": (True, {"kind": ["accuracy", SPARSE], "value": ["mae"]}),
        "for one output": (True, {"kind": "accuracy"}),
        "a list of lists": (False, [["mae", "mse"], ["accuracy"]]),
        "by name for a list of outputs": (False, {"kind": "accuracy"}),
    },
)
def metrics_of_outputs(trial: Trial, case: tuple[bool, object]) -> None:
    """metrics of two outputs: {}"""
    as_dict, chosen = case
    x, targets = samples.two_targets()
    loss = samples.TWO_LOSSES if as_dict else list(samples.TWO_LOSSES.values())
    model = trial.compiled(samples.two_outputs(as_dict), loss, metrics=chosen)
    y = targets if as_dict else list(targets.values())
    trial.fit(model, x, y, batch_size=8, epochs=2)
    trial.evaluate(model, x, y, batch_size=8)


@habit(GROUP, slow=True)
def metric_of_a_layer(trial: Trial) -> None:
    """a layer that owns a metric and updates it in `call`"""

    class Watched(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.mean = metrics.Mean(name="size")

        def call(self, inputs: object) -> object:
            self.mean.update_state(keras.ops.abs(inputs))
            return inputs

    network = keras.Sequential([keras.Input((4,)), Watched(), keras.layers.Dense(3)])
    model = trial.compiled(network)
    trial.fit(model, X, Y, batch_size=8, epochs=2, validation_data=(2 * X, Y))


@habit(GROUP)
def metrics_by_hand(trial: Trial) -> None:
    """metrics over an uneven last batch are means over rows, by a sum in NumPy"""
    network = samples.dense()
    model = trial.compiled(network, metrics=["mae"], weighted_metrics=["mse"])
    error = network(X).numpy() - Y
    rows = np.mean(error**2, axis=1)
    result = model.evaluate(X, Y, sample_weight=W, batch_size=8, verbose=0, return_dict=True)
    batches = [np.s_[0:8], np.s_[8:16], np.s_[16:22]]
    sums = [np.mean(W[batch] * rows[batch]) * len(rows[batch]) for batch in batches]
    trial.keep("result", dict(sorted(result.items())))
    trial.expect(
        "result",
        {
            "loss": sum(sums) / len(rows),
            "mae": np.mean(np.abs(error)),
            "mse": np.sum(W * rows) / np.sum(W),
        },
    )


@habit(GROUP, slow=True)
def metrics_start_anew(trial: Trial) -> None:
    """metrics start anew at each epoch, and `reset_metrics` empties them"""
    model = trial.compiled(samples.dense(), metrics=[Rows()])
    trial.fit(model, X, Y, batch_size=8, epochs=2)
    model.reset_metrics()
    trial.keep("results", {metric.name: metric.result() for metric in model.metrics})


@habit(GROUP, slow=True)
def order_of_metrics(trial: Trial) -> None:
    """`evaluate` returns a list in the order of `metrics`"""
    model = trial.compiled(samples.dense(), metrics=["mse", "mae"], weighted_metrics=["mape"])
    trial.evaluate(model, X, Y, batch_size=8)


@habit(GROUP)
def unknown_metric(trial: Trial) -> None:
    """an unknown metric is an error"""
    model = trial.compiled(samples.dense(), metrics=["acuracy"])
    trial.error(lambda: model.fit(X, Y, verbose=0))


@habit(GROUP)
def names_of_metrics(trial: Trial) -> None:
    """`model.metrics` before and after a `fit`, with a metric that the network owns"""

    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3)
            self.mean = metrics.Mean(name="own")

        def call(self, inputs: object) -> object:
            return self.dense(inputs)

    model = trial.compiled(Own(), metrics=["mae"])
    trial.fit(model, X, Y, batch_size=8)
    trial.keep("metrics", sorted(metric.name for metric in model.metrics))


@habit(GROUP, slow=True)
def metrics_of_nested_models(trial: Trial) -> None:
    """a compiled model within another one, whose own metrics stay out of the logs"""
    inner = samples.dense(4)
    inner.compile("sgd", "mae", metrics=["mse"])
    inputs = keras.Input((4,))
    network = keras.Model(inputs, keras.layers.Dense(3)(inner(inputs)))
    trial.fit(trial.compiled(network, metrics=["mae"]), X, Y, batch_size=8)
