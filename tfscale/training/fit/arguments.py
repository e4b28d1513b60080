"""Arguments of Keras's `compile` and `fit` that have another name here, or none."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from tfscale.compat.keras_trainer import KerasLoop
from tfscale.errors import ConfigError
from tfscale.models.outputs import check_built, check_weight_types
from tfscale.training.step_state import StepState
from tfscale.training.variables import shards

Harmless: TypeAlias = Mapping[str, tuple[tuple[object, ...], str]]
"""Keras's arguments: the values that ask for nothing, and what to do instead of any other."""
COMPILE: Harmless = {
    "loss_weights": ((None,), "there is one loss"),
    "run_eagerly": (
        (None, False),
        "the step is always compiled, and xla=False compiles it without XLA",
    ),
    "auto_scale_loss": ((None, True), "the step scales the loss itself"),
}
FIT: Harmless = {
    "shuffle": (
        (True, False),
        'shuffle=True shuffles all rows, which are in memory in any case ("batch" is for HDF5)',
    ),
}
MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
"""Reductions of Keras's losses that are means."""
_LOSS = (
    "the loss of a LanguageModel is the next token's cross-entropy of logits: leave loss out, or"
    " give keras.losses.SparseCategoricalCrossentropy(from_logits=True)"
)


def check_loss(loss: Any) -> None:
    """Refuses a loss that is not the cross-entropy of the next token, of logits.

    Args:
        loss: what `compile` was given; None is the built-in one.

    Raises:
        ConfigError: says what differs.
    """
    if loss is None:
        return
    if type(loss) is not keras.losses.SparseCategoricalCrossentropy:
        name = loss if isinstance(loss, str) else getattr(loss, "name", None) or repr(loss)
        hint = "; for any other loss take tfscale.Model"
        if name == "sparse_categorical_crossentropy":
            hint = " (the name alone is that of probabilities)"
        raise ConfigError(f"{_LOSS}{hint}; received {name!r}")
    config = loss.get_config()
    if not config["from_logits"]:
        raise ConfigError(f"{_LOSS}; received one with from_logits=False")
    if config["reduction"] not in MEANS:
        raise ConfigError(
            f"the loss is a mean over the tokens that count; received reduction="
            f"{config['reduction']!r}, and tfscale.Model takes others"
        )
    if config.get("ignore_class") is not None and config["ignore_class"] >= 0:
        raise ConfigError(
            f"targets to leave out are negative, such as -100; received ignore_class="
            f"{config['ignore_class']}, a token id"
        )
    if config.get("axis", -1) not in (-1, 2):
        raise ConfigError(f"logits are (B, T, V); received a loss with axis={config['axis']}")


def refuse(name: str, given: Mapping[str, object], known: Harmless) -> None:
    """Refuses arguments that a call does not take.

    Args:
        name: of the call.
        given: the arguments that have no parameter.
        known: Keras's arguments among them, see `COMPILE`.

    Raises:
        ConfigError: names them, and what to do instead of each.
    """
    asked = {
        key: value
        for key, value in given.items()
        if not _asks_nothing(value, known.get(key, ((), ""))[0])
    }
    if asked:
        hints = dict.fromkeys(known[key][1] for key in sorted(asked) if key in known)
        raise ConfigError(
            f"{name} does not take {', '.join(sorted(asked))}"
            + "".join(f"; {hint}" for hint in hints)
        )


def _asks_nothing(value: object, harmless: tuple[object, ...]) -> bool:
    return any(value is one or (isinstance(value, type(one)) and value == one) for one in harmless)


def as_callbacks(callbacks: object) -> list[keras.callbacks.Callback]:
    """Returns a list of what `fit` may be given as callbacks: None, one, or several.

    Raises:
        ConfigError: names what is not a Keras callback.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    if isinstance(callbacks, Iterable) and not isinstance(callbacks, str):
        added = list(callbacks)
    else:
        added = [] if callbacks is None else [callbacks]
    for callback in added:
        if not isinstance(callback, keras.callbacks.Callback):
            raise ConfigError(
                f"callbacks are objects of keras.callbacks.Callback; received {callback!r}"
            )
    return added


def as_validation(data: object) -> tuple:
    """Returns validation data as one dataset, or a tuple (x, y[, sample_weight]).

    Raises:
        ConfigError: other than two or three arrays.
    """
    if not isinstance(data, Sequence) or isinstance(data, str):
        return (data,)
    if len(data) not in (2, 3):
        raise ConfigError(
            f"validation_data must be a dataset or (x, y[, sample_weight]); received {len(data)}"
            " parts"
        )
    return tuple(data)


def check_trainable(network: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Refuses a network that a train step cannot update under a strategy.

    Raises:
        ConfigError: it is not built, its weights are not float32, or they were made outside of the
            strategy's scope.
    """
    check_built(network)
    check_weight_types(network)
    for weight in network.variables:
        if not all(map(strategy.extended.variable_created_in_scope, shards(weight))):
            raise ConfigError(
                f"model {network.name!r} and the model around it were not made in the scope of one"
                " strategy: make both in one `with strategy.scope():`"
            )


def check_unchanged(model: KerasLoop, step: StepState, trained: Sequence[int]) -> None:
    """Refuses a model that has changed since it was compiled: its step was made for what it had.

    Args:
        model: compiled.
        step: made at compile.
        trained: identities of the trainable variables then.

    Raises:
        ConfigError: names what is another one, and asks to compile again.
    """
    parts = {
        "optimizer": (step.optimizer, model.optimizer),
        "network": (step.network, model.network),
    }
    for name, (before, now) in parts.items():
        if before is not now:
            raise ConfigError(
                f"model.{name} is another {name} than at compile, whose step would go on with the"
                " one before; call compile again"
            )
    if [id(weight) for weight in step.network.trainable_variables] != list(trained):
        raise ConfigError(
            f"other weights of model {step.network.name!r} are trainable than at compile (a layer's"
            " `trainable` was set, or layers were exchanged); call compile again"
        )
