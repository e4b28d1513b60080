"""Validation within `fit`."""

from collections.abc import Callable, Iterator

import keras
import numpy as np

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Validation"
X, Y = samples.regression()
VX, VY = samples.regression(10, seed=1)
VW = samples.weights_of(10)
SPLIT = {"batch_size": 8, "epochs": 2}


def pairs(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields batches of 4 again and again."""
    while True:
        for start in range(0, len(arrays[0]), 4):
            yield tuple(array[start : start + 4] for array in arrays)


class Sequence(keras.utils.PyDataset):
    """The validation rows in two batches."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return VX[5 * index : 5 * index + 5], VY[5 * index : 5 * index + 5]


@habits(
    GROUP,
    {
        "a pair of arrays": lambda: (VX, VY),
        "a list of arrays": lambda: [VX, VY],
        "arrays with weights": lambda: (VX, VY, VW),
        "a dataset": lambda: samples.dataset(VX, VY, batch=4),
        "a dataset with weights": lambda: samples.dataset(VX, VY, VW, batch=4),
        "a PyDataset": Sequence,
    },
)
def validation_data(trial: Trial, make: Callable[[], object]) -> None:
    """`validation_data` as {}"""
    model = trial.compiled(samples.dense(), metrics=["mae"], weighted_metrics=["mse"])
    trial.fit(model, X, Y, validation_data=make(), batch_size=8, epochs=2)


@habits(
    GROUP,
    {
        "an endless generator": lambda: (pairs(VX[:4], VY[:4]), 4),
        "a repeated dataset": lambda: (samples.dataset(VX, VY, batch=4).repeat(), 4),
        "a longer dataset": lambda: (samples.dataset(VX, VY, batch=2), 3),
        "arrays": lambda: ((VX, VY), 1),
        "arrays that are too few": lambda: ((VX, VY), 7),
    },
)
def validation_steps(trial: Trial, make: Callable[[], tuple[object, int]]) -> None:
    """`validation_steps` with {}"""
    data, steps = make()
    model = trial.compiled(samples.dense(), metrics=["mae"])
    trial.fit(model, X, Y, validation_data=data, validation_steps=steps, batch_size=8, epochs=2)


@habit(GROUP, slow=True)
def generators_for_both(trial: Trial) -> None:
    """endless generators for training and for validation"""
    model = trial.compiled(samples.dense())
    steps = {"steps_per_epoch": 3, "validation_steps": 2, "epochs": 2, "shuffle": False}
    trial.fit(model, pairs(X, Y), validation_data=pairs(VX[:4], VY[:4]), **steps)


@habits(
    GROUP,
    {
        "shuffled": SPLIT,
        "in order": {**SPLIT, "shuffle": False},
        "with steps": {**SPLIT, "steps_per_epoch": 2},
        "with a batch size of its own": {**SPLIT, "validation_batch_size": 3},
        "with weights": {**SPLIT, "sample_weight": samples.weights_of()},
    },
)
def validation_split(trial: Trial, options: dict[str, object]) -> None:
    """`validation_split=0.3` {}"""
    model = trial.compiled(samples.dense(), metrics=["mae"])
    trial.fit(model, X, Y, validation_split=0.3, **options)


@habit(GROUP, slow=True)
def validation_split_of_dicts(trial: Trial) -> None:
    """`validation_split` of a dict of inputs and a dict of targets"""
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(), samples.TWO_LOSSES)
    trial.fit(model, x, targets, validation_split=0.25, **SPLIT)


@habits(GROUP, {"a number": 2, "a list": [1, 4]})
def validation_freq(trial: Trial, which: object) -> None:
    """`validation_freq` as {}"""
    model = trial.compiled(samples.dense())
    data = {"validation_data": (VX, VY), "validation_freq": which}
    trial.fit(model, X, Y, batch_size=8, epochs=4, **data)


@habit(GROUP, slow=True)
def validation_class_weight(trial: Trial) -> None:
    """`class_weight` counts in training alone, not in validation"""
    x, y = samples.labelled()
    model = trial.compiled(
        samples.classifier(), "sparse_categorical_crossentropy", weighted_metrics=["accuracy"]
    )
    options = {"class_weight": {0: 3.0, 1: 0.5}, "validation_data": (x, y)}
    trial.fit(model, x, y, batch_size=8, epochs=2, **options)


@habit(GROUP, slow=True)
def validation_without_dropout(trial: Trial) -> None:
    """dropout and batch normalization behave as in `evaluate`"""
    network = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(3),
        ]
    )
    model = trial.compiled(network)
    trial.fit(model, X, Y, validation_data=(VX, VY), **SPLIT)
    trial.evaluate(model, VX, VY, batch_size=8)


@habit(GROUP)
def validation_of_wrong_shape(trial: Trial) -> None:
    """validation data of a wrong shape is an error; the next `fit` works"""
    model = trial.compiled(samples.dense())
    wrong = (VX[:, :3], VY)
    trial.error(lambda: model.fit(X, Y, validation_data=wrong, verbose=0))
    trial.fit(model, X, Y, validation_data=(VX, VY), batch_size=8)
