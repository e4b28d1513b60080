"""Two replicas: what stock Keras gives there, and what one device gives."""

from collections.abc import Callable

import keras
import tensorflow as tf

import tfscale
from tests.conformance import samples
from tests.conformance.habit import Tolerance, habit
from tests.conformance.trial import Trial

GROUP = "Two replicas"
X, Y = samples.regression()
OPTIONS = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}


def two_devices() -> tf.distribute.Strategy:
    """Returns the one strategy of this process: TensorFlow mixes up the reductions of several."""
    return tfscale.strategy("mirrored")


def compare(
    trial: Trial,
    optimizer: dict[str, object],
    fit: dict[str, object] | None = None,
    network: Callable[[], keras.Model] = samples.dense,
    metrics: Callable[[], list[object]] = lambda: ["mae"],
    **compiled: object,
) -> None:
    """Trains on two replicas, and says what stock Keras gives on one device.

    Args:
        network: makes the network on each side.
        metrics: makes the metrics on each side.
    """
    options = {**OPTIONS, **(fit or {})}
    one = network()
    compiled = {"loss": "mse", "weighted_metrics": ["mse"], **compiled}
    one.compile(optimizer, jit_compile=False, metrics=metrics(), **compiled)
    with two_devices().scope():
        other = network()
        other.set_weights(one.get_weights())
        model = trial.compiled(other, optimizer=optimizer, metrics=metrics(), **compiled)
    trial.keep("history", model.fit(X, Y, **options).history)
    trial.keep("evaluate", model.evaluate(X, Y, batch_size=8, verbose=0))
    trial.keep("predict", model.predict(X, batch_size=8, verbose=0))
    trial.expect("history", one.fit(X, Y, **options).history)
    trial.expect("evaluate", one.evaluate(X, Y, batch_size=8, verbose=0))
    trial.expect("predict", one.predict(X, batch_size=8, verbose=0))
    trial.expect("weights", one.get_weights())
    trial.expect("iterations", int(one.optimizer.iterations))
    trial.ignored.add("slots")


def sgd(**options: object) -> dict[str, object]:
    """Returns the config of an SGD."""
    return {"class_name": "SGD", "config": {"learning_rate": 0.3, **options}}


@habit(GROUP, slow=True)
def replicas_even(trial: Trial) -> None:
    """two replicas: batches that can be halved"""
    compare(trial, sgd())


@habit(GROUP, slow=True)
def replicas_weights(trial: Trial) -> None:
    """two replicas: `sample_weight`, in batches that can be halved"""
    compare(trial, sgd(), {"sample_weight": samples.weights_of()})


@habit(GROUP, slow=True)
def replicas_validation(trial: Trial) -> None:
    """two replicas: `validation_data`, in batches that can be halved"""
    compare(trial, sgd(), {"validation_data": samples.regression(10, seed=1)})


@habit(GROUP, right="Keras clips the gradient of each replica before they are added up")
def replicas_global_clipnorm(trial: Trial) -> None:
    """two replicas: `global_clipnorm`"""
    compare(trial, sgd(global_clipnorm=0.1))


@habit(GROUP, right="Keras clips the gradient of each replica before they are added up", slow=True)
def replicas_clipvalue(trial: Trial) -> None:
    """two replicas: `clipvalue`"""
    compare(trial, sgd(clipvalue=0.02))


@habit(GROUP, right="Keras fails: AddN of parts that differ in size", slow=True)
def replicas_odd_batch(trial: Trial) -> None:
    """two replicas: batches of 7 rows, the last of one"""
    compare(trial, sgd(), {"batch_size": 7})


@habit(GROUP, refused=True)
def replicas_accumulation(trial: Trial) -> None:
    """two replicas: `gradient_accumulation_steps=2`, which fails in Keras (`merge_call`)"""
    compare(trial, sgd(gradient_accumulation_steps=2))


@habit(GROUP, right="Keras fails: a placeholder of its loop has no value", slow=True)
def replicas_steps_per_execution(trial: Trial) -> None:
    """two replicas: `steps_per_execution=2`"""
    compare(trial, sgd(), steps_per_execution=2)


@habit(GROUP, slow=True)
def replicas_distributed_dataset(trial: Trial) -> None:
    """two replicas: a dataset of `strategy.experimental_distribute_dataset`"""
    one = samples.dense()
    one.compile(sgd(), "mse", jit_compile=False)
    with two_devices().scope():
        network = samples.dense()
        network.set_weights(one.get_weights())
        model = trial.compiled(network, optimizer=sgd())
    parts = two_devices().experimental_distribute_dataset(samples.dataset(X[:16], Y[:16]))
    history = model.fit(parts, epochs=2, steps_per_epoch=2, verbose=0)
    trial.keep("history", history.history)
    trial.expect("history", one.fit(X[:16], Y[:16], **OPTIONS).history)
    trial.expect("weights", one.get_weights())


@habit(GROUP, tolerance=Tolerance(1e-2, 1e-3), right="one replica's infinity corrupts all weights")
def replicas_overflow(trial: Trial) -> None:
    """two replicas: a float16 overflow in the rows of one replica skips the step"""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    y = Y[:16].copy()
    y[13] = 6e4
    try:
        one = samples.dense()
        one.compile(sgd(), "mse", jit_compile=False)
        with two_devices().scope():
            network = samples.dense()
            network.set_weights(one.get_weights())
            model = trial.compiled(network, optimizer=sgd())
        model.fit(X[:16], y, **OPTIONS)
        one.fit(X[:16], y, **OPTIONS)
    finally:
        keras.config.set_dtype_policy(before)
    trial.expect("weights", one.get_weights())
    trial.ignored.update(("slots", "iterations"))
