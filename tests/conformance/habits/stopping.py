"""Callbacks that stop a training, change its rate or take weights back."""

import keras
import numpy as np

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Callbacks that steer"
X, Y = samples.regression()
callbacks = keras.callbacks
FIT = {"batch_size": 8, "epochs": 6, "validation_data": samples.regression(10, seed=1)}


@habits(
    GROUP,
    {
        "patience": {"monitor": "val_loss", "patience": 1, "min_delta": 0.2},
        "restore_best_weights": {
            "monitor": "val_loss",
            "patience": 2,
            "min_delta": 0.05,
            "restore_best_weights": True,
        },
        "start_from_epoch": {"monitor": "loss", "min_delta": 1.0, "start_from_epoch": 3},
        "a baseline": {"monitor": "val_mae", "baseline": 0.01, "patience": 2},
        "mode max": {"monitor": "mae", "mode": "max", "patience": 1},
        "restoring without an improvement": {
            "monitor": "val_loss",
            "baseline": 0.0001,
            "patience": 2,
            "restore_best_weights": True,
        },
    },
)
def early_stopping(trial: Trial, options: dict[str, object]) -> None:
    """`EarlyStopping` with {}"""
    model = trial.compiled(samples.dense(), metrics=["mae"])
    stop = callbacks.EarlyStopping(**options)
    trial.fit(model, X, Y, callbacks=[stop], batches=False, **FIT)
    trial.keep("stopped", [stop.stopped_epoch, stop.best_epoch, stop.wait])
    trial.evaluate(model, X, Y)


@habit(GROUP, slow=True)
def early_stopping_restores_state(trial: Trial) -> None:
    """`EarlyStopping` takes batch normalization's averages back, too"""
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    )
    model = trial.compiled(network, optimizer=keras.optimizers.SGD(1.5))
    stop = callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    trial.fit(model, X, Y, callbacks=[stop], batch_size=8, epochs=6, batches=False)


@habit(GROUP, slow=True)
def early_stopping_reused(trial: Trial) -> None:
    """one `EarlyStopping` for two `fit`"""
    model = trial.compiled(samples.dense())
    stop = callbacks.EarlyStopping("loss", min_delta=0.3, patience=1)
    for _ in range(2):
        trial.fit(model, X, Y, callbacks=[stop], batch_size=8, epochs=4, batches=False)


@habits(
    GROUP,
    {
        "of the epoch": lambda epoch: 0.1 / (epoch + 1),
        "of the rate before": lambda epoch, rate: rate * 0.5,
    },
)
def learning_rate_scheduler(trial: Trial, function: object) -> None:
    """`LearningRateScheduler` with a function {}; the rate stands in the logs"""
    model = trial.compiled(samples.dense(), optimizer="adam")
    scheduler = callbacks.LearningRateScheduler(function)
    trial.fit(model, X, Y, callbacks=[scheduler], batch_size=8, epochs=3)


@habit(GROUP)
def scheduler_on_schedule(trial: Trial) -> None:
    """`LearningRateScheduler` on an optimizer with a schedule is an error"""
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    model = trial.compiled(samples.dense(), optimizer=keras.optimizers.SGD(decay))
    scheduler = callbacks.LearningRateScheduler(lambda epoch: 0.1)
    trial.error(lambda: model.fit(X, Y, callbacks=[scheduler], verbose=0))


@habits(
    GROUP,
    {
        "patience": {"patience": 1, "min_delta": 0.5},
        "min_lr": {"patience": 1, "min_delta": 0.5, "factor": 0.1, "min_lr": 0.005},
        "cooldown": {"patience": 1, "min_delta": 0.5, "cooldown": 2, "factor": 0.5},
    },
)
def reduce_lr_on_plateau(trial: Trial, options: dict[str, object]) -> None:
    """`ReduceLROnPlateau` with {}"""
    model = trial.compiled(samples.dense(), optimizer=keras.optimizers.SGD(0.1))
    reduce = callbacks.ReduceLROnPlateau("val_loss", **options)
    trial.fit(model, X, Y, callbacks=[reduce], batches=False, **FIT)


NAN = {"batch_size": 4, "shuffle": False, "verbose": 0}


def with_value(value: float) -> np.ndarray:
    """Returns the inputs with a value in the third batch of four rows."""
    x = X.copy()
    x[9] = value
    return x


@habit(GROUP, right="Keras writes the weights that are not finite; here they are those before")
def terminate_on_nan(trial: Trial) -> None:
    """`TerminateOnNaN` stops at the batch whose loss is not finite"""
    network = samples.dense()
    before = samples.dense()
    before.set_weights(network.get_weights())
    before.compile("sgd", "mse", jit_compile=False)
    before.fit(X[:8], Y[:8], **NAN)
    model = trial.compiled(network)
    end = callbacks.TerminateOnNaN()
    trial.fit(model, with_value(np.nan), Y, callbacks=[end], epochs=2, **NAN)
    trial.keep("stop_training", model.stop_training)
    trial.expect("weights", before.get_weights())
    trial.expect("iterations", 2)


@habit(GROUP, refused=True)
def nan_without_callback(trial: Trial) -> None:
    """a loss that is not finite, without a callback; Keras goes on with weights that are nan"""
    model = trial.compiled(samples.dense())
    trial.fit(model, with_value(np.nan), Y, epochs=2, **NAN)


@habit(GROUP, refused=True)
def gradient_not_finite(trial: Trial) -> None:
    """a gradient that is not finite though the loss is; Keras goes on with weights that are nan"""
    model = trial.compiled(samples.dense())
    trial.fit(model, with_value(np.inf), Y, **NAN)


@habits(GROUP, {"epochs": {"swap_on_epoch": True}, "the end": {}})
def swap_ema_weights(trial: Trial, options: dict[str, object]) -> None:
    """`SwapEMAWeights` at {}"""
    sgd = keras.optimizers.SGD(0.2, use_ema=True, ema_momentum=0.6)
    model = trial.compiled(samples.dense(), optimizer=sgd)
    swap = callbacks.SwapEMAWeights(**options)
    trial.fit(model, X, Y, callbacks=[swap], batch_size=8, epochs=2, validation_data=(X, Y))
    trial.evaluate(model, X, Y)


@habit(GROUP, slow=True)
def weights_changed_at_batches(trial: Trial) -> None:
    """a callback that changes a weight at every batch"""
    network = samples.dense()

    class Clip(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            kernel = network.layers[0].kernel
            kernel.assign(keras.ops.clip(kernel, -0.2, 0.2))

    model = trial.compiled(network)
    trial.fit(model, X, Y, callbacks=[Clip()], batch_size=8, epochs=2)


@habit(GROUP, slow=True)
def rate_changed_at_batches(trial: Trial) -> None:
    """a callback that changes the learning rate at every batch"""

    class Warm(callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
            self.model.optimizer.learning_rate = 0.02 * (batch + 1)

    model = trial.compiled(samples.dense(), optimizer="adam")
    trial.fit(model, X, Y, callbacks=[Warm()], batch_size=4)


@habit(GROUP, slow=True)
def weights_read_at_epochs(trial: Trial) -> None:
    """a callback that reads weights, and predicts, at the end of an epoch"""
    network = samples.dense()
    seen: list[object] = []

    class Look(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            seen.append(network.get_weights())
            seen.append(self.model.predict(X[:3], verbose=0))

    model = trial.compiled(network)
    trial.fit(model, X, Y, callbacks=[Look()], batch_size=8, epochs=2, batches=False)
    trial.keep("seen", seen)


@habit(GROUP)
def metrics_added_to_logs(trial: Trial) -> None:
    """a callback that adds to the logs of an epoch, which the next ones see"""

    class Extra(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            logs["extra"] = 10.0 * epoch

    model = trial.compiled(samples.dense())
    trial.fit(model, X, Y, callbacks=[Extra()], batch_size=8, epochs=2)


@habit(GROUP, slow=True)
def evaluate_in_callback(trial: Trial) -> None:
    """a callback that calls `evaluate` at the end of an epoch"""

    class Test(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            logs["test_loss"] = self.model.evaluate(X[:5], Y[:5], verbose=0)

    model = trial.compiled(samples.dense())
    trial.fit(model, X, Y, callbacks=[Test()], batch_size=8, epochs=2, validation_data=(X, Y))
