"""`steps_per_execution`: several steps for each call of the compiled function."""

import itertools
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.habits.data_streams import Batches, forever, unknown_length
from tests.conformance.trial import Trial

GROUP = "Steps per execution"
X, Y = samples.regression()
FIT = {"batch_size": 4, "epochs": 2}


@habits(
    GROUP,
    {
        "three, which do not divide an epoch": {"steps_per_execution": 3},
        "two, which do": {"steps_per_execution": 2},
        "more than an epoch has": {"steps_per_execution": 50},
        "three, run eagerly": {"steps_per_execution": 3, "run_eagerly": True},
        "three, with XLA": {"steps_per_execution": 3, "jit_compile": True},
    },
)
def executed(trial: Trial, options: dict[str, object]) -> None:
    """`steps_per_execution` of {}"""
    model = trial.compiled(samples.dense(), optimizer="adam", metrics=["mae"], **options)
    trial.fit(model, X, Y, validation_data=(X, Y), **FIT)
    trial.evaluate(model, X, Y, batch_size=4)
    trial.predict(model, X, batch_size=4)


@habits(
    GROUP,
    {
        "that match": 6,
        "that end within a call": 3,
        "that go on over epochs": 4,
        "that are too many": 9,
    },
)
def executed_steps_per_epoch(trial: Trial, steps: int) -> None:
    """`steps_per_execution=2` and `steps_per_epoch` {}"""
    model = trial.compiled(samples.dense(), metrics=["mae"], steps_per_execution=2)
    trial.fit(model, X, Y, steps_per_epoch=steps, **FIT)


@habits(
    GROUP,
    {
        "a dataset": lambda: (samples.dataset(X, Y, batch=4), {}),
        "a dataset of unknown length": lambda: (unknown_length(X, Y), {}),
        "a repeated dataset": lambda: (samples.dataset(X, Y).repeat(), {"steps_per_epoch": 4}),
        "an endless generator": lambda: (forever(X[:8], Y[:8]), {"steps_per_epoch": 4}),
        "a PyDataset": lambda: (Batches(X, Y), {}),
    },
)
def executed_streams(trial: Trial, make: Callable[[], tuple[object, dict]]) -> None:
    """`steps_per_execution=2` with {}"""
    data, options = make()
    model = trial.compiled(samples.dense(), steps_per_execution=2)
    trial.fit(model, data, epochs=2, **options)


@habit(GROUP)
def executed_on_batch(trial: Trial) -> None:
    """`train_on_batch` of a model with `steps_per_execution=3` takes one step"""
    model = trial.compiled(samples.dense(), steps_per_execution=3)
    trial.keep("trained", model.train_on_batch(X, Y))
    trial.keep("tested", model.test_on_batch(X, Y))


@habit(GROUP, slow=True)
def executed_and_stopped(trial: Trial) -> None:
    """a callback that stops a training with `steps_per_execution=2`"""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            self.model.stop_training = batch >= 3

    model = trial.compiled(samples.dense(), steps_per_execution=2)
    trial.fit(model, X, Y, callbacks=[Stop()], **FIT)


@habit(GROUP, slow=True)
def executed_state(trial: Trial) -> None:
    """`steps_per_execution=3` with batch normalization and dropout"""
    network = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3, seed=1),
            keras.layers.Dense(3),
        ]
    )
    model = trial.compiled(network, steps_per_execution=3)
    trial.fit(model, X, Y, batches=False, **FIT)


@habit(GROUP, slow=True)
def unrolled(trial: Trial) -> None:
    """`unrolled_steps_per_execution=2` of `steps_per_execution=4`"""
    model = trial.compiled(samples.dense(), steps_per_execution=4)
    model.unrolled_steps_per_execution = 2
    trial.fit(model, X, Y, **FIT)


@habit(GROUP, slow=True)
def predicted_in_order(trial: Trial) -> None:
    """`predict` with `steps_per_execution=3` of batches of 2, 3 and 4 rows keeps the order"""
    ends = [0, 2, 5, 9, 11, 14, 18]

    def sizes() -> Iterator[np.ndarray]:
        for start, end in itertools.pairwise(ends):
            yield X[start:end]

    data = tf.data.Dataset.from_generator(sizes, output_signature=tf.TensorSpec((None, 4)))
    trial.predict(trial.compiled(samples.dense(), steps_per_execution=3), data)
