"""What a train step keeps besides weights and optimizer, as a part of the model that Keras saves and restores.

Averages, pruning masks and carried states are weights of the model: `get_weights` and `set_weights` have them, and so
has whatever uses these, such as `EarlyStopping(restore_best_weights=True)`. The step's counters and the loss scale are
not weights, just as those of a Keras optimizer are not. Files hold both.
"""

import contextlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfscale.training.averages import values_in_place
from tfscale.training.checkpoint import Joined
from tfscale.training.step import TrainStep

_EPOCH = "epoch"


class EpochSoFar:
    """The epoch that is under way: its number, steps taken, summed loss in nats and target tokens."""

    def __init__(self, number: int | None = None, steps: int = 0, nll: float = 0.0, tokens: float = 0.0):
        self.number, self.steps, self.nll, self.tokens = number, steps, nll, tokens

    def add(self, steps: int, nll: float, tokens: float) -> None:
        """Counts a call of the train step."""
        self.steps, self.nll, self.tokens = self.steps + steps, self.nll + nll, self.tokens + tokens


class TrainState(keras.layers.Layer):
    """The state of a `LanguageModel`'s train step, by the names that a run's checkpoints give it, with "." for "/".

    Without a step, which is before `compile`, it keeps what a file held until there is one. What a file does not hold,
    such as one of an earlier version, is as after `compile` with the weights in the file.
    """

    def __init__(self, name: str = "train_state"):
        super().__init__(name=name)
        self._kept = _Kept()
        self.epoch = EpochSoFar()
        self.built = True

    def follow(self, step: TrainStep | None) -> None:
        """Takes a step's state for the model's own, and gives it what a file held; None for none any more."""
        self._kept, held = _Kept(step), self._kept.held
        if step is not None and held:
            _assign(step, held)

    @property
    def weights(self) -> list[keras.Variable]:
        """Averages, masks and carried states; none of them is trainable."""
        return list(self._kept.weights)

    @property
    def variables(self) -> list[keras.Variable]:
        """The same."""
        return self.weights

    def averages_in_place(self, network: keras.Model) -> contextlib.AbstractContextManager[None]:
        """For a network that is not compiled: the averages that a file held, in the place of its weights."""
        held, variables = self._kept.held, [weight.value for weight in network.trainable_variables]
        averages = [held[_key(f"average/{i}")] for i in range(len(variables)) if _key(f"average/{i}") in held]
        began = held.get("step", 0) > held.get("overflows", 0)
        return values_in_place(variables, averages if began and len(averages) == len(variables) else [])

    def save_own_variables(self, store: Any) -> None:
        """Writes all of the state, the place within an epoch included."""
        step = self._kept.step
        held = self._kept.held if step is None else {_key(name): v.numpy() for name, v in _state(step).items()}
        for name, value in held.items():
            store[name] = value
        epoch = self.epoch
        if epoch.number is not None:
            store[_EPOCH] = np.array([epoch.number, epoch.steps, epoch.nll, epoch.tokens], np.float64)

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote, as much of it as there is."""
        held = {name: np.asarray(store[name]) for name in store.keys()}
        number, steps, nll, tokens = held.pop(_EPOCH, (None, 0, 0.0, 0.0))
        self.epoch = EpochSoFar(None if number is None else int(number), int(steps), float(nll), float(tokens))
        if self._kept.step is None:
            self._kept.held = held
        else:
            _assign(self._kept.step, held)


class _Kept:
    """What a `TrainState` refers to; in an object of its own, since Keras would track it for good as an attribute."""

    def __init__(self, step: TrainStep | None = None):
        self.step = step
        self.held: dict[str, np.ndarray] = {}
        self.weights = [_variable(name, v) for name, v in step.beside_weights().items()] if step is not None else []


class _Whole(keras.Variable):
    """A Keras variable of what replicas or servers have the parts of."""

    def __init__(self, parts: Joined, name: str):
        super().__init__(parts.parts[0], trainable=False, name=name)
        self._parts, self._shape = parts, tuple(parts.shape)

    def numpy(self) -> np.ndarray:
        return self._parts.numpy()

    def _direct_assign(self, value: Any) -> None:
        self._parts.assign(np.asarray(value))


def _variable(name: str, variable: Any) -> keras.Variable:
    if isinstance(variable, Joined):
        return _Whole(variable, _key(name))
    return keras.Variable(variable, trainable=False, name=_key(name))


def _key(name: str) -> str:
    return name.replace("/", ".")


def _state(step: TrainStep) -> dict[str, Any]:
    return step.beside_weights() | step.counters()


def _assign(step: TrainStep, held: dict[str, np.ndarray]) -> None:
    """Gives a step's state the values of a file.

    What the file lacks begins anew. So does what has another shape, which states carried for other streams have.
    """
    fresh = _fresh(step)
    for name, variable in _state(step).items():
        value = held.get(_key(name))
        fits = value is not None and tuple(value.shape) == tuple(variable.shape)
        variable.assign(value if fits else fresh[name])


def _fresh(step: TrainStep) -> dict[str, np.ndarray]:
    """The state at the begin of a training, for the weights as they are."""
    values = {name: np.zeros_like(variable.numpy()) for name, variable in _state(step).items()}
    values["loss_scale"] = np.float32(step.loss_scale.first)
    if step.averages:
        weights = step.network.trainable_variables
        values |= {f"average/{i}": np.asarray(tf.convert_to_tensor(w.value)) for i, w in enumerate(weights)}
    return values | (step.pruner.masks_of_zeros() if step.pruner else {})
