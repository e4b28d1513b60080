"""Arguments of `fit`: epochs, steps, order, progress."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.recorder import BatchRecorder
from tests.conformance.trial import Trial

GROUP = "Arguments of fit"
X, Y = samples.regression()


@habits(
    GROUP,
    {
        "no batch size": {},
        "a batch size larger than the data": {"batch_size": 100},
        "a batch size of one": {"batch_size": 1},
        "`shuffle=True`": {"batch_size": 8, "epochs": 3, "shuffle": True},
        "`shuffle=False`": {"batch_size": 8, "epochs": 2, "shuffle": False},
        "`shuffle=batch`": {"batch_size": 4, "epochs": 2, "shuffle": "batch"},
        "`initial_epoch`": {"batch_size": 8, "epochs": 4, "initial_epoch": 2},
        "`initial_epoch` at the last epoch": {"batch_size": 8, "epochs": 2, "initial_epoch": 2},
        "no epochs": {"batch_size": 8, "epochs": 0},
        "`steps_per_epoch`": {"batch_size": 4, "epochs": 3, "steps_per_epoch": 2},
        "`steps_per_epoch` of data that go on over epochs": {
            "batch_size": 8,
            "epochs": 4,
            "steps_per_epoch": 2,
        },
        "`steps_per_epoch` above the number of batches": {
            "batch_size": 8,
            "epochs": 2,
            "steps_per_epoch": 9,
        },
    },
)
def fit_with(trial: Trial, options: dict[str, object]) -> None:
    """`fit` with {}"""
    trial.fit(trial.compiled(samples.dense(), metrics=["mae"]), X, Y, **options)


@habits(GROUP, {"a bar": 1, "a line": 2, "auto": "auto"})
def verbose(trial: Trial, how: object) -> None:
    """`verbose` as {} prints, and callbacks are told the same"""
    trial.fit(trial.compiled(samples.dense()), X, Y, batch_size=8, verbose=how)


@habits(
    GROUP,
    {
        "one callback": lambda recorder, model: recorder,
        "a list": lambda recorder, model: [recorder],
        "a tuple": lambda recorder, model: (recorder,),
        "a CallbackList": lambda recorder, model: keras.callbacks.CallbackList(
            [recorder], add_history=True, model=model, epochs=2, steps=3
        ),
    },
)
def callbacks_as(trial: Trial, form: Callable[..., object]) -> None:
    """`callbacks` as {}"""
    model = trial.compiled(samples.dense())
    recorder = BatchRecorder()
    options = {"batch_size": 8, "epochs": 2, "verbose": 0}
    history = model.fit(X, Y, callbacks=form(recorder, model), **options)
    trial.keep("history", history.history)
    trial.keep("calls", recorder.calls)


@habit(GROUP)
def no_callbacks(trial: Trial) -> None:
    """`callbacks=None`, so that nothing looks at batches"""
    model = trial.compiled(samples.dense(), metrics=["mae"])
    history = model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=None)
    trial.keep("history", history.history)
    trial.keep("same object", history is model.history)


@habit(GROUP, slow=True)
def fit_twice(trial: Trial) -> None:
    """`fit` again goes on with weights, optimizer and learning rate"""
    model = trial.compiled(samples.dense(), optimizer="adam", metrics=["mae"])
    trial.fit(model, X, Y, batch_size=8, epochs=2)
    trial.fit(model, X, Y, batch_size=5, epochs=1)


@habit(GROUP)
def fit_evaluate_fit(trial: Trial) -> None:
    """`evaluate` and `predict` between two `fit` change nothing"""
    model = trial.compiled(samples.dense(), optimizer="adam")
    trial.fit(model, X, Y, batch_size=8)
    trial.evaluate(model, X, Y, batch_size=8)
    trial.predict(model, X)
    trial.fit(model, X, Y, batch_size=8)


@habit(GROUP, slow=True)
def compile_again(trial: Trial) -> None:
    """`compile` again with another optimizer and other metrics"""
    model = trial.compiled(samples.dense(), metrics=["mse"])
    trial.fit(model, X, Y, batch_size=8)
    model.compile("adam", "mae", metrics=["mae"], jit_compile=False)
    trial.fit(model, X, Y, batch_size=8)
    trial.evaluate(model, X, Y, return_dict=True)


@habit(GROUP, slow=True)
def freeze_and_compile(trial: Trial) -> None:
    """freezing a layer and compiling again"""
    network = samples.dense()
    model = trial.compiled(network, optimizer="adam")
    trial.fit(model, X, Y, batch_size=8)
    network.layers[0].trainable = False
    model.compile("adam", "mse", jit_compile=False)
    trial.fit(model, X, Y, batch_size=8)
    trial.keep("trainable", len(model.trainable_variables))


@habit(GROUP, slow=True)
def frozen_from_the_start(trial: Trial) -> None:
    """a frozen layer below one that is trained"""
    network = samples.dense()
    network.layers[0].trainable = False
    trial.fit(trial.compiled(network), X, Y, batch_size=8, epochs=2)


@habit(GROUP, refused=True)
def nothing_to_train(trial: Trial) -> None:
    """a network whose weights are all frozen gives the loss only"""
    network = samples.dense()
    network.trainable = False
    trial.fit(trial.compiled(network), X, Y, batch_size=8)


@habit(GROUP)
def stop_training(trial: Trial) -> None:
    """a callback that sets `model.stop_training` at a batch"""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            self.model.stop_training = batch == 1

    model = trial.compiled(samples.dense())
    trial.fit(model, X, Y, batch_size=4, epochs=3, callbacks=[Stop()])


@habit(GROUP, slow=True)
def stop_at_an_epoch(trial: Trial) -> None:
    """a callback that sets `model.stop_training` at the end of an epoch"""
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", epoch == 1)
    )
    model = trial.compiled(samples.dense())
    trial.fit(model, X, Y, batch_size=8, epochs=5, callbacks=[stop], batches=False)


@habit(GROUP, slow=True)
def interrupted(trial: Trial) -> None:
    """an interrupt in a callback leaves a model that trains on"""

    def interrupt(epoch: int, logs: dict[str, float]) -> None:
        raise KeyboardInterrupt

    model = trial.compiled(samples.dense(), optimizer="adam")
    at_once = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    try:
        trial.fit(model, X, Y, batch_size=8, epochs=5, callbacks=[at_once])
    except KeyboardInterrupt:
        trial.keep("interrupted", True)
    trial.fit(model, X, Y, batch_size=8)


@habit(GROUP, slow=True)
def limited_by_config(trial: Trial) -> None:
    """`keras.config.set_max_epochs` and `set_max_steps_per_epoch`"""
    keras.config.set_max_epochs(2)
    keras.config.set_max_steps_per_epoch(2)
    try:
        trial.fit(trial.compiled(samples.dense()), X, Y, batch_size=8, epochs=4)
    finally:
        keras.config.set_max_epochs(None)
        keras.config.set_max_steps_per_epoch(None)


@habit(GROUP, slow=True)
def set_learning_rate(trial: Trial) -> None:
    """`model.optimizer.learning_rate = ...` between two `fit`"""
    model = trial.compiled(samples.dense())
    trial.fit(model, X, Y, batch_size=8)
    model.optimizer.learning_rate = 0.3
    trial.fit(model, X, Y, batch_size=8)


@habit(GROUP, slow=True)
def set_weights(trial: Trial) -> None:
    """`get_weights` and `set_weights` between two `fit`"""
    network = samples.dense()
    model = trial.compiled(network)
    before = network.get_weights()
    trial.fit(model, X, Y, batch_size=8)
    network.set_weights(before)
    trial.fit(model, X, Y, batch_size=8)


@habit(GROUP, slow=True)
def batch_order_seed(trial: Trial) -> None:
    """`tf.random.set_seed` before `fit` fixes the order of the rows"""
    model = trial.compiled(samples.dense())
    tf.random.set_seed(11)
    trial.fit(model, X, Y, batch_size=4, epochs=2, batches=False)


@habit(GROUP)
def defaults_of_compile(trial: Trial) -> None:
    """`compile(loss="mse")` alone"""
    model = trial.model(samples.dense())
    model.compile(loss="mse")
    trial.fit(model, X, Y, batch_size=8, epochs=2)
    trial.keep("optimizer", model.optimizer.name)
