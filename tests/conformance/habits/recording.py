"""Callbacks that write files, and that are functions."""

import csv
from pathlib import Path

import keras
import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Callbacks that write"
X, Y = samples.regression()
callbacks = keras.callbacks
FIT = {"batch_size": 8, "epochs": 3, "validation_data": samples.regression(10, seed=1)}


def names(folder: Path) -> list[str]:
    """Returns the files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@habits(
    GROUP,
    {
        "at every epoch": ("{epoch:02d}-{val_loss:.2f}.keras", {}),
        "of weights": ("{epoch}.weights.h5", {"save_weights_only": True}),
        "of the best": ("best.keras", {"save_best_only": True, "monitor": "val_mae"}),
        "above a threshold": (
            "best.keras",
            {"save_best_only": True, "monitor": "loss", "initial_value_threshold": 0.001},
        ),
        "of the largest": ("{epoch}.keras", {"save_best_only": True, "mode": "max"}),
        "every four batches": ("{batch}.weights.h5", {"save_freq": 4, "save_weights_only": True}),
    },
)
def model_checkpoint(trial: Trial, case: tuple[str, dict[str, object]]) -> None:
    """`ModelCheckpoint` {}"""
    pattern, options = case
    model = trial.compiled(samples.dense(), metrics=["mae"])
    checkpoint = callbacks.ModelCheckpoint(trial.folder / pattern, **options)
    trial.fit(model, X, Y, callbacks=[checkpoint], batches=False, **FIT)
    trial.keep("files", names(trial.folder))
    trial.keep("best", checkpoint.best)


@habit(
    GROUP,
    right="Keras leaves the optimizer's state out where the new model has not been trained yet",
)
def checkpoint_loads(trial: Trial) -> None:
    """weights of a `ModelCheckpoint` in a new model, which trains on like one that never ended"""
    path = trial.folder / "last.weights.h5"
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    whole = samples.dense()
    whole.compile("adam", "mse", jit_compile=False)
    first = whole.get_weights()
    history = whole.fit(X, Y, epochs=4, **options).history
    network = samples.dense()
    network.set_weights(first)
    model = trial.compiled(network, optimizer="adam")
    checkpoint = callbacks.ModelCheckpoint(path, save_weights_only=True)
    trial.fit(model, X, Y, callbacks=[checkpoint], epochs=2, batches=False, **options)
    again = trial.compiled(samples.dense(), optimizer="adam")
    again.load_weights(path)
    trial.keep("rest", again.fit(X, Y, epochs=4, initial_epoch=2, **options).history)
    trial.expect("rest", {"loss": history["loss"][2:]})
    trial.expect("weights#2", whole.get_weights())
    trial.expect("iterations#2", 12)
    trial.expect("slots#2", [variable.numpy() for variable in whole.optimizer.variables[1:]])


@habits(GROUP, {"epochs": {}, "every two batches": {"save_freq": 2}}, slow=True)
def backup_and_restore(trial: Trial, options: dict[str, object]) -> None:
    """`BackupAndRestore` at {}: a training that broke off and is started again"""

    class Break(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            if (self.model.optimizer.iterations.numpy(), batch) == (5, 1):
                raise RuntimeError("broken")

    folder = trial.folder / "backup"
    model = trial.compiled(samples.dense(), optimizer="adam")
    backup = callbacks.BackupAndRestore(folder, **options)
    fit = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0}
    try:
        model.fit(X, Y, callbacks=[backup, Break()], **fit)
    except RuntimeError:
        trial.keep("files", names(folder))
    again = trial.compiled(samples.dense(), optimizer="adam")
    backup = callbacks.BackupAndRestore(folder, **options)
    trial.fit(again, X, Y, callbacks=[backup], **fit)
    trial.keep("left", names(folder))


@habit(GROUP, slow=True)
def csv_logger(trial: Trial) -> None:
    """`CSVLogger`, and a second `fit` that appends"""
    path = trial.folder / "log.csv"
    model = trial.compiled(samples.dense(), metrics=["mae"])
    for append in (False, True):
        logger = callbacks.CSVLogger(path, append=append, separator=";")
        trial.fit(model, X, Y, callbacks=[logger], batches=False, **FIT)
    with path.open() as file:
        rows = list(csv.reader(file, delimiter=";"))
    trial.keep("head", rows[0])
    trial.keep("values", np.array(rows[1:], "float32"))


@habit(GROUP, slow=True)
def csv_logger_of_stopped_training(trial: Trial) -> None:
    """`CSVLogger` of a training that ends before its first validation"""
    path = trial.folder / "log.csv"
    stop = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(stop.model, "stop_training", True)
    )
    model = trial.compiled(samples.dense())
    written = [stop, callbacks.CSVLogger(path)]
    trial.fit(model, X, Y, callbacks=written, validation_freq=2, batches=False, **FIT)
    trial.keep("head", path.read_text().splitlines()[0])


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns the curves of TensorBoard's files: steps and values by name."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.rglob("events.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                numbers = make_ndarray(value.tensor)
                if numbers.dtype.kind == "f" and numbers.size == 1:
                    curve = curves.setdefault(f"{path.parent.name}/{value.tag}", [])
                    curve.append((event.step, float(numbers)))
    return {name: curve for name, curve in sorted(curves.items()) if "per_second" not in name}


@habits(
    GROUP,
    {
        "epochs": {},
        "every batch": {"update_freq": "batch"},
        "every third batch": {"update_freq": 3},
        "histograms": {"histogram_freq": 1},
    },
)
def tensorboard(trial: Trial, options: dict[str, object]) -> None:
    """`TensorBoard` of {}: curves, their steps and values"""
    model = trial.compiled(samples.dense(), metrics=["mae"])
    board = callbacks.TensorBoard(trial.folder, write_graph=False, **options)
    trial.fit(model, X, Y, callbacks=[board], batches=False, **FIT)
    trial.keep("curves", scalars(trial.folder))


@habit(GROUP, slow=True)
def tensorboard_learning_rate(trial: Trial) -> None:
    """`TensorBoard` shows the learning rate of a schedule"""
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    model = trial.compiled(samples.dense(), optimizer=keras.optimizers.SGD(decay))
    board = callbacks.TensorBoard(trial.folder, write_graph=False)
    trial.fit(model, X, Y, callbacks=[board], batches=False, **FIT)
    trial.keep("curves", scalars(trial.folder))


@habit(GROUP, slow=True)
def tensorboard_twice(trial: Trial) -> None:
    """`TensorBoard` over two `fit` goes on where the first ended"""
    model = trial.compiled(samples.dense())
    for _ in range(2):
        board = callbacks.TensorBoard(trial.folder, write_graph=False, update_freq=1)
        trial.fit(model, X, Y, callbacks=[board], batches=False, batch_size=8)
    trial.keep("curves", scalars(trial.folder))


@habit(GROUP, slow=True)
def lambda_callback(trial: Trial) -> None:
    """`LambdaCallback` with functions of epochs, batches and the whole"""
    lines: list[str] = []
    watch = callbacks.LambdaCallback(
        on_train_begin=lambda logs: lines.append("begin"),
        on_epoch_begin=lambda epoch, logs: lines.append(f"epoch {epoch}"),
        on_train_batch_end=lambda batch, logs: lines.append(f"batch {batch} {sorted(logs)}"),
        on_epoch_end=lambda epoch, logs: lines.append(f"end {epoch} {sorted(logs)}"),
        on_train_end=lambda logs: lines.append("end"),
    )
    model = trial.compiled(samples.dense(), metrics=["mae"])
    trial.fit(model, X, Y, callbacks=[watch], batches=False, **FIT)
    trial.keep("lines", lines)


@habit(GROUP, slow=True)
def own_progress(trial: Trial) -> None:
    """one's own `ProgbarLogger` and `History` in `callbacks`"""
    model = trial.compiled(samples.dense())
    history = callbacks.History()
    added = [callbacks.ProgbarLogger(), history]
    trial.fit(model, X, Y, callbacks=added, batches=False, batch_size=8, epochs=2)
    trial.keep("own history", history.history)


@habit(GROUP)
def what_callbacks_see(trial: Trial) -> None:
    """`self.model` and `self.params` of a callback"""
    seen: list[object] = []

    class Look(callbacks.Callback):
        def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
            seen.append(dict(self.params))
            seen.append(self.model is model)
            seen.append(float(self.model.optimizer.learning_rate))

    model = trial.compiled(samples.dense())
    trial.fit(model, X, Y, callbacks=[Look()], **FIT)
    trial.keep("seen", seen)
