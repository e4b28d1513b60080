"""`evaluate`, `predict`, and the methods of one batch."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "evaluate, predict and single batches"
X, Y = samples.regression()
W = samples.weights_of()


def batches(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields batches of 8 rows."""
    for start in range(0, samples.ROWS, 8):
        yield tuple(array[start : start + 8] for array in arrays)


def inputs_only() -> tf.data.Dataset:
    """Returns batches of inputs without targets."""
    return tf.data.Dataset.from_tensor_slices(X).batch(8)


class Pages(keras.utils.PyDataset):
    """Two batches of inputs and targets."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return X[8 * index : 8 * index + 8], Y[8 * index : 8 * index + 8]


@habits(
    GROUP,
    {
        "arrays": lambda: ((X, Y), {"batch_size": 5}),
        "arrays without a batch size": lambda: ((X, Y), {}),
        "a dict of results, `return_dict=True`": lambda: ((X, Y), {"return_dict": True}),
        "arrays with `steps`": lambda: ((X, Y), {"batch_size": 5, "steps": 2}),
        "a dataset": lambda: ((samples.dataset(X, Y),), {"return_dict": True}),
        "a repeated dataset with `steps`": lambda: (
            (samples.dataset(X, Y).repeat(),),
            {"steps": 4},
        ),
        "a generator": lambda: ((batches(X, Y),), {}),
        "a PyDataset": lambda: ((Pages(),), {}),
        "tensors": lambda: ((tf.constant(X), tf.constant(Y)), {"batch_size": 11}),
    },
)
def evaluate(trial: Trial, make: Callable[[], tuple[tuple[object, ...], dict]]) -> None:
    """`evaluate` of {}"""
    data, options = make()
    model = trial.compiled(samples.dense(), metrics=["mae"])
    trial.evaluate(model, *data, **options)


@habits(
    GROUP,
    {
        "arrays": lambda: (X, {"batch_size": 5}),
        "arrays without a batch size": lambda: (X, {}),
        "a dataset": lambda: (inputs_only(), {}),
        "a dataset with targets": lambda: (samples.dataset(X, Y), {}),
        "a dataset with `steps`": lambda: (inputs_only(), {"steps": 2}),
        "a generator": lambda: (batches(X), {}),
        "a PyDataset": lambda: (Pages(), {}),
        "tensors": lambda: (tf.constant(X), {"batch_size": 4}),
    },
)
def predict(trial: Trial, make: Callable[[], tuple[object, dict]]) -> None:
    """`predict` of {}"""
    data, options = make()
    trial.predict(trial.compiled(samples.dense()), data, **options)


@habit(GROUP)
def predict_without_compile(trial: Trial) -> None:
    """`predict` of a model that was not compiled"""
    trial.predict(trial.model(samples.dense()), X, batch_size=8)


@habit(GROUP)
def called_by_itself(trial: Trial) -> None:
    """`model(x)` and `model(x, training=True)`"""
    model = trial.model(keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()]))
    trial.keep("inference", model(X))
    trial.keep("training", model(X, training=True))


@habits(GROUP, {"fit": "train", "evaluate": "test", "predict": "predict"})
def stopped_loop(trial: Trial, phase: str) -> None:
    """a callback that stops `{}` at its third batch"""
    word = {"train": "training", "test": "evaluating", "predict": "predicting"}[phase]

    class Stop(keras.callbacks.Callback):
        pass

    def end(self: keras.callbacks.Callback, batch: int, logs: dict | None = None) -> None:
        setattr(self.model, f"stop_{word}", batch == 2)

    setattr(Stop, f"on_{phase}_batch_end", end)
    model = trial.compiled(samples.dense())
    options = {"batch_size": 4, "verbose": 0, "callbacks": [Stop()]}
    if phase == "train":
        trial.fit(model, X, Y, **options)
    elif phase == "test":
        trial.keep("result", model.evaluate(X, Y, **options))
    else:
        trial.keep("result", model.predict(X, **options))


@habit(GROUP, slow=True)
def fixed_batch_dataset(trial: Trial) -> None:
    """`evaluate` of a dataset whose batches have a fixed size"""
    data = samples.dataset(X[:16], Y[:16]).map(
        lambda x, y: (tf.ensure_shape(x, (8, 4)), tf.ensure_shape(y, (8, 3)))
    )
    trial.evaluate(trial.compiled(samples.dense(), metrics=["mae"]), data, return_dict=True)


@habits(
    GROUP,
    {
        "a list": {},
        "`return_dict=True`": {"return_dict": True},
        "`sample_weight`": {"sample_weight": W},
    },
)
def on_batch(trial: Trial, options: dict[str, object]) -> None:
    """`train_on_batch` and `test_on_batch`: {}"""
    model = trial.compiled(samples.dense(), optimizer="adam", metrics=["mae"])
    for _ in range(3):
        trial.keep("trained", model.train_on_batch(X, Y, **options))
    trial.keep("tested", model.test_on_batch(X, Y, **options))
    trial.keep("predicted", model.predict_on_batch(X))


@habit(GROUP)
def on_batch_class_weight(trial: Trial) -> None:
    """`train_on_batch` with `class_weight`"""
    x, y = samples.labelled()
    model = trial.compiled(samples.classifier(), "sparse_categorical_crossentropy")
    trial.keep("trained", model.train_on_batch(x, y, class_weight={0: 0.2, 1: 3.0, 2: 1.0}))


@habit(GROUP)
def on_batch_of_other_sizes(trial: Trial) -> None:
    """`train_on_batch` with another number of rows each time"""
    model = trial.compiled(samples.dense(), metrics=["mae"])
    for count in (3, 8, 1, 8):
        trial.keep("trained", model.train_on_batch(X[:count], Y[:count]))


@habit(GROUP, slow=True)
def on_batch_of_dicts(trial: Trial) -> None:
    """`train_on_batch` of two inputs and two outputs by name"""
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(), samples.TWO_LOSSES, metrics={"kind": "accuracy"})
    trial.keep("trained", model.train_on_batch(x, targets, return_dict=True))
    trial.keep("tested", model.test_on_batch(x, targets, return_dict=True))
    trial.keep("predicted", model.predict_on_batch(x))


@habit(GROUP, slow=True)
def on_batch_then_fit(trial: Trial) -> None:
    """`train_on_batch`, then `fit`, then `train_on_batch` on one model"""
    model = trial.compiled(samples.dense(), optimizer="adam")
    trial.keep("trained", model.train_on_batch(X, Y))
    trial.fit(model, X, Y, batch_size=8)
    trial.keep("trained", model.train_on_batch(X, Y))


@habit(GROUP, slow=True)
def own_loop(trial: Trial) -> None:
    """a loop of one's own over `train_on_batch` with `reset_metrics` and `get_metrics_result`"""
    model = trial.compiled(samples.dense(), metrics=["mae"])
    for _ in range(2):
        for x, y in batches(X, Y):
            model.train_on_batch(x, y)
        trial.keep("metrics", model.get_metrics_result())
