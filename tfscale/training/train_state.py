"""Makes a train step's state a part of the model that Keras saves.

Averages, pruning masks and carried states are weights of the model, so `get_weights`, `set_weights`
and `EarlyStopping(restore_best_weights=True)` include them. The step's counters and the loss scale
are not weights, just as those of a Keras optimizer are not. Files hold both.
"""

import contextlib
from collections.abc import Mapping, MutableMapping

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import SpreadVariable
from tfscale.training.step_state import StepState
from tfscale.training.variables import Joined, Stored, values_in_place

_EPOCH = "epoch"


class EpochSoFar:
    """The epoch that is under way: its number, steps taken, summed loss in nats, target tokens."""

    def __init__(
        self, number: int | None = None, steps: int = 0, nll: float = 0.0, tokens: float = 0.0
    ):
        self.number, self.steps, self.nll, self.tokens = number, steps, nll, tokens

    def add(self, steps: int, nll: float, tokens: float) -> None:
        """Counts a call of the train step."""
        self.steps, self.nll, self.tokens = self.steps + steps, self.nll + nll, self.tokens + tokens


class TrainState(keras.layers.Layer):
    """Holds the state of the train step of a `LanguageModel`.

    Its values have the names that a run's checkpoints give them, with "." for "/". Before `compile`
    there is no step, and it holds what a file brought until there is one. A value that a file
    lacks, such as a file of an earlier version, becomes what it is after `compile` with the file's
    weights.
    """

    def __init__(self, name: str = "train_state"):
        super().__init__(name=name)
        self._kept = _Kept()
        self.epoch = EpochSoFar()
        self.built = True

    def follow(self, step: StepState | None) -> None:
        """Holds the state of this step from now on, and gives it what a file brought before.

        Args:
            step: the step of the model; None if it has none any more.
        """
        self._kept, brought = _Kept(step), self._kept.brought
        if step is not None and brought:
            _assign(step, brought)

    @property
    def weights(self) -> list[keras.Variable]:
        """Averages, masks and carried states; none of them is trainable."""
        return list(self._kept.weights)

    @property
    def variables(self) -> list[keras.Variable]:
        """The same as `weights`."""
        return self.weights

    def averages_in_place(self, network: keras.Model) -> contextlib.AbstractContextManager[None]:
        """Gives a network that is not compiled the averages that a file brought, for the block."""
        brought = self._kept.brought
        variables = [weight.value for weight in network.trainable_variables]
        names = [_key(f"average/{index}") for index in range(len(variables))]
        updated = brought.get("step", 0) > brought.get("overflows", 0)
        has_averages = updated and all(name in brought for name in names)
        return values_in_place(variables, [brought[name] for name in names] if has_averages else [])

    def save_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        """Writes the whole state, with how far the epoch is."""
        step, values = self._kept.step, self._kept.brought
        if step is not None:
            values = {_key(name): variable.numpy() for name, variable in _state(step).items()}
        for name, value in values.items():
            store[name] = value
        epoch = self.epoch
        if epoch.number is not None:
            store[_EPOCH] = np.array([epoch.number, epoch.steps, epoch.nll, epoch.tokens])

    def load_own_variables(self, store: Mapping[str, np.ndarray]) -> None:
        """Reads what `save_own_variables` wrote, as much of it as there is."""
        values = {name: np.asarray(store[name]) for name in store.keys()}
        self.epoch = EpochSoFar()
        if _EPOCH in values:
            number, steps, nll, tokens = values.pop(_EPOCH)
            self.epoch = EpochSoFar(int(number), int(steps), float(nll), float(tokens))
        if self._kept.step is None:
            self._kept.brought = values
        else:
            _assign(self._kept.step, values)


class _Kept:
    """The references of a `TrainState`. Keras would track them if they were attributes there."""

    def __init__(self, step: StepState | None = None):
        self.step = step
        self.brought: dict[str, np.ndarray] = {}
        state = {} if step is None else step.beside_weights()
        self.weights = [_keras_variable(name, variable) for name, variable in state.items()]


def _keras_variable(name: str, variable: Stored) -> keras.Variable:
    if isinstance(variable, Joined):
        return SpreadVariable(variable, variable.parts[0], _key(name))
    return keras.Variable(variable, trainable=False, name=_key(name))


def _key(name: str) -> str:
    return name.replace("/", ".")


def _state(step: StepState) -> dict[str, Stored]:
    return step.beside_weights() | step.counters()


def _assign(step: StepState, values: dict[str, np.ndarray]) -> None:
    """Gives a step's state the values of a file.

    A value that is missing begins anew, and so does one of another shape: that is the state carried
    for another number of streams.
    """
    fresh = _fresh(step)
    for name, variable in _state(step).items():
        value = values.get(_key(name))
        if value is None or tuple(value.shape) != tuple(variable.shape):
            value = fresh[name]
        variable.assign(value)


def _fresh(step: StepState) -> dict[str, np.ndarray]:
    """Returns the state with which a training begins, for the weights as they are."""
    values = {name: np.zeros_like(variable.numpy()) for name, variable in _state(step).items()}
    values["loss_scale"] = np.float32(step.loss_scale.first)
    if step.averages:
        for index, weight in enumerate(step.network.trainable_variables):
            values[f"average/{index}"] = np.asarray(tf.convert_to_tensor(weight.value))
    return values | (step.pruner.masks_of_zeros() if step.pruner else {})
