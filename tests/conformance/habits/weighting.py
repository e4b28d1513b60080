"""`sample_weight` and `class_weight`."""

import keras
import numpy as np

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Weights of samples and classes"
X, Y = samples.regression()
W = samples.weights_of()
CLASS_WEIGHT = {0: 0.25, 1: 2.0, 2: 1.5}
CROSSENTROPY = "sparse_categorical_crossentropy"


@habits(
    GROUP,
    {
        "one a row": W,
        "one a row in a column": W[:, None],
        "a list of numbers": np.arange(samples.ROWS),
        "with zeros": np.where(np.arange(samples.ROWS) % 3 == 0, 0, W),
        "all zero in one batch": np.r_[np.zeros(8), np.ones(samples.ROWS - 8)],
    },
)
def sample_weight(trial: Trial, weights: np.ndarray) -> None:
    """`sample_weight`: {}"""
    model = trial.compiled(samples.dense(), metrics=["mae"], weighted_metrics=["mae", "mse"])
    options = {"sample_weight": weights, "shuffle": False, "batch_size": 8}
    trial.fit(model, X, Y, epochs=2, **options)


@habit(GROUP, slow=True)
def sample_weight_of_time_steps(trial: Trial) -> None:
    """`sample_weight` (N, T) for targets (N, T)"""
    ids, _ = samples.sentences()
    network = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(9, 4),
            keras.layers.GRU(4, return_sequences=True),
            keras.layers.Dense(9, activation="softmax"),
        ]
    )
    model = trial.compiled(network, CROSSENTROPY, weighted_metrics=["accuracy"])
    weights = samples.weights_of(samples.ROWS, 5)
    trial.fit(model, ids, np.roll(ids, -1, 1), sample_weight=weights, batch_size=8)


@habits(
    GROUP,
    {
        "a dict": {"value": W, "kind": samples.weights_of()[::-1]},
        "one for all": W,
    },
)
def sample_weight_of_outputs(trial: Trial, weights: object) -> None:
    """`sample_weight` of two outputs: {}"""
    x, targets = samples.two_targets()
    model = trial.compiled(
        samples.two_outputs(),
        samples.TWO_LOSSES,
        weighted_metrics={"value": ["mae"], "kind": ["accuracy"]},
    )
    trial.fit(model, x, targets, sample_weight=weights, batch_size=8, epochs=2)


@habit(GROUP, slow=True)
def sample_weight_of_listed_outputs(trial: Trial) -> None:
    """`sample_weight` of two outputs: a list"""
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(False), list(samples.TWO_LOSSES.values()))
    weights = [W, W[::-1]]
    trial.fit(model, x, list(targets.values()), sample_weight=weights, batch_size=8)


@habit(GROUP, slow=True)
def sample_weight_in_evaluate(trial: Trial) -> None:
    """`evaluate` with `sample_weight`"""
    model = trial.compiled(samples.dense(), metrics=["mae"], weighted_metrics=["mae"])
    trial.evaluate(model, X, Y, sample_weight=W, batch_size=8)
    trial.evaluate(model, samples.dataset(X, Y, W), return_dict=True)


@habits(
    GROUP,
    {
        "integer labels": samples.labelled,
        "one-hot labels": samples.one_hot,
    },
)
def class_weight(trial: Trial, make: object) -> None:
    """`class_weight` with {}"""
    x, y = make()
    loss = CROSSENTROPY if y.ndim == 1 else "categorical_crossentropy"
    model = trial.compiled(samples.classifier(), loss, weighted_metrics=["accuracy"])
    trial.fit(model, x, y, class_weight=CLASS_WEIGHT, batch_size=8, epochs=2)


@habit(GROUP, slow=True)
def class_weight_binary(trial: Trial) -> None:
    """`class_weight` of a binary classifier"""
    x, y = samples.binary()
    model = trial.compiled(samples.dense(1, "sigmoid"), "binary_crossentropy", metrics=["accuracy"])
    trial.fit(model, x, y, class_weight={0: 0.3, 1: 3.0}, batch_size=8, epochs=2)


@habit(GROUP, slow=True)
def class_weight_missing_classes(trial: Trial) -> None:
    """`class_weight` that names some of the classes; the others count 1"""
    x, y = samples.labelled()
    model = trial.compiled(samples.classifier(), CROSSENTROPY)
    trial.fit(model, x, y, class_weight={1: 5.0}, batch_size=8)


@habit(GROUP, slow=True)
def class_weight_empty(trial: Trial) -> None:
    """an empty `class_weight`"""
    x, y = samples.labelled()
    model = trial.compiled(samples.classifier(), CROSSENTROPY)
    trial.fit(model, x, y, class_weight={}, batch_size=8)


@habit(GROUP, slow=True)
def class_weight_of_dataset(trial: Trial) -> None:
    """`class_weight` with a dataset"""
    model = trial.compiled(samples.classifier(), CROSSENTROPY)
    trial.fit(model, samples.dataset(*samples.labelled()), class_weight=CLASS_WEIGHT, epochs=2)


@habit(GROUP)
def class_and_sample_weight(trial: Trial) -> None:
    """`class_weight` and `sample_weight` together are an error"""
    x, y = samples.labelled()
    model = trial.compiled(samples.classifier(), CROSSENTROPY)
    both = {"class_weight": CLASS_WEIGHT, "sample_weight": W}
    trial.error(lambda: model.fit(x, y, verbose=0, **both))


@habit(GROUP)
def class_weight_of_weighted_dataset(trial: Trial) -> None:
    """`class_weight` with a dataset that has weights is an error"""
    x, y = samples.labelled()
    model = trial.compiled(samples.classifier(), CROSSENTROPY)
    data = samples.dataset(x, y, W)
    trial.error(lambda: model.fit(data, verbose=0, class_weight=CLASS_WEIGHT))


@habit(GROUP, slow=True)
def class_weight_of_two_outputs(trial: Trial) -> None:
    """`class_weight` for a network of two outputs is an error"""
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(), samples.TWO_LOSSES)
    trial.error(lambda: model.fit(x, targets, verbose=0, class_weight=CLASS_WEIGHT))
