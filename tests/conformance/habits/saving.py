"""Saving, loading, and going on."""

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Saving and loading"
X, Y = samples.regression()
FIT = {"batch_size": 8, "shuffle": False, "batches": False}


def normalized() -> keras.Model:
    """Returns a network with batch normalization."""
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(3),
        ]
    )


@habits(
    GROUP,
    {
        "adam": (samples.dense, {"optimizer": "adam", "metrics": ["mae"]}),
        "a schedule": (
            samples.dense,
            {
                "optimizer": keras.optimizers.SGD(
                    keras.optimizers.schedules.ExponentialDecay(0.3, 2, 0.5), momentum=0.9
                )
            },
        ),
        "batch normalization": (normalized, {"optimizer": "adam"}),
        "two outputs": (
            samples.two_outputs,
            {"loss": samples.TWO_LOSSES, "loss_weights": {"value": 0.5, "kind": 2.0}},
        ),
    },
)
def saved_model(trial: Trial, case: tuple[Callable[[], keras.Model], dict]) -> None:
    """a `.keras` file with {}, loaded, compiled as it was, and trained on"""
    make, options = case
    x, y = samples.two_targets() if make is samples.two_outputs else (X, Y)
    # The optimizer of a case is shared by both sides, so each takes a copy.
    chosen = dict(options)
    if isinstance(chosen.get("optimizer"), keras.optimizers.Optimizer):
        chosen["optimizer"] = keras.optimizers.serialize(chosen["optimizer"])
    model = trial.compiled(make(), **chosen)
    trial.fit(model, x, y, epochs=2, **FIT)
    path = trial.folder / "model.keras"
    model.save(path)
    again = keras.models.load_model(path)
    trial.keep("evaluate", again.evaluate(x, y, batch_size=8, verbose=0))
    trial.keep("predict", again.predict(x, verbose=0))
    trial.fit(again, x, y, epochs=2, **FIT)
    trial.keep("loaded", [weight.numpy() for weight in again.trainable_variables])
    trial.keep("steps", int(again.optimizer.iterations))


@habit(GROUP, slow=True)
def saved_is_like_uninterrupted(trial: Trial) -> None:
    """a training that was saved and loaded in between ends like one that was not"""
    whole = normalized()
    whole.compile("adam", "mse", jit_compile=False)
    network = normalized()
    network.set_weights(whole.get_weights())
    history = whole.fit(X, Y, batch_size=8, shuffle=False, epochs=4, verbose=0).history["loss"]
    model = trial.compiled(network, optimizer="adam")
    trial.fit(model, X, Y, epochs=2, **FIT)
    model.save(trial.folder / "model.keras")
    again = keras.models.load_model(trial.folder / "model.keras")
    rest = again.fit(X, Y, batch_size=8, shuffle=False, epochs=2, verbose=0)
    trial.keep("rest", rest.history["loss"])
    trial.expect("rest", history[2:])


@habit(GROUP, slow=True)
def saved_before_training(trial: Trial) -> None:
    """a model that is saved compiled, before it was trained"""
    model = trial.compiled(samples.dense(), optimizer="adam", metrics=["mae"])
    model.save(trial.folder / "model.keras")
    again = keras.models.load_model(trial.folder / "model.keras")
    trial.fit(again, X, Y, epochs=2, **FIT)


@habit(GROUP, slow=True)
def loaded_without_compile(trial: Trial) -> None:
    """`load_model(compile=False)`, then another `compile`"""
    model = trial.compiled(samples.dense(), optimizer="adam")
    trial.fit(model, X, Y, **FIT)
    model.save(trial.folder / "model.keras")
    again = keras.models.load_model(trial.folder / "model.keras", compile=False)
    again.compile("sgd", "mae", jit_compile=False)
    trial.fit(again, X, Y, **FIT)


@habit(GROUP, slow=True)
def custom_objects(trial: Trial) -> None:
    """a layer, a loss and a metric of one's own by `custom_objects`"""

    class Scale(keras.layers.Layer):
        def build(self, shape: tuple[int, ...]) -> None:
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, inputs: object) -> object:
            return inputs * self.scale

    def cubed(y_true: object, y_pred: object) -> object:
        return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** 3, axis=-1)

    network = keras.Sequential([keras.Input((4,)), Scale(), keras.layers.Dense(3)])
    model = trial.compiled(network, cubed, optimizer="adam", metrics=[cubed])
    trial.fit(model, X, Y, **FIT)
    model.save(trial.folder / "model.keras")
    known = {"Scale": Scale, "cubed": cubed}
    again = keras.models.load_model(trial.folder / "model.keras", custom_objects=known)
    trial.fit(again, X, Y, **FIT)


@habit(GROUP, slow=True)
def weights_file(trial: Trial) -> None:
    """`save_weights` of a trained model and `load_weights` into one that was trained a step"""
    path: Path = trial.folder / "model.weights.h5"
    model = trial.compiled(samples.dense(), optimizer="adam")
    trial.fit(model, X, Y, epochs=2, **FIT)
    model.save_weights(path)
    again = trial.compiled(samples.dense(), optimizer="adam")
    again.train_on_batch(X, Y)
    again.load_weights(path)
    trial.fit(again, X, Y, **FIT)


@habit(GROUP, slow=True)
def weights_of_the_network(trial: Trial) -> None:
    """a trained network's weights in a plain copy of it"""
    network = samples.dense()
    trial.fit(trial.compiled(network), X, Y, **FIT)
    network.save_weights(trial.folder / "network.weights.h5")
    copy = samples.dense()
    copy.load_weights(trial.folder / "network.weights.h5")
    trial.keep("outputs", copy.predict(X, verbose=0))


@habit(GROUP, slow=True)
def config_round_trip(trial: Trial) -> None:
    """`get_config`, `from_config` and `get_compile_config` give a model that trains alike"""
    model = trial.compiled(samples.dense(), optimizer="adam", metrics=["mae"])
    again = type(model).from_config(model.get_config())
    again.compile_from_config(model.get_compile_config())
    again.set_weights(model.get_weights())
    trial.fit(again, X, Y, epochs=2, **FIT)


@habit(GROUP, slow=True)
def exported(trial: Trial) -> None:
    """`export` to a SavedModel, whose `serve` gives what `predict` gives"""
    model = trial.compiled(samples.dense())
    trial.fit(model, X, Y, **FIT)
    model.export(trial.folder / "saved", verbose=False)
    served = tf.saved_model.load(trial.folder / "saved")
    trial.keep("served", served.serve(X))
