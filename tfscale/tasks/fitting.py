"""The steps of a fine-tuning: passes until the validation loss rises, with checkpoints from which
the same command goes on.

The checkpoints are in OUTPUT.unfinished, beside the folder that appears when all is done. One is
written before the first step, so that a full disk is found then, one after each pass, one where a
signal came, and one whenever ten minutes have passed since the last. A fine-tuning that was stopped
and went on has the same weights as one that was not, bit for bit.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import CheckpointError, DataError
from tfscale.files.paths import read_json, write_json
from tfscale.files.temporary import remove_tree
from tfscale.launching.interruption import StopRequest
from tfscale.runs.divergence import check_validation
from tfscale.training.checkpoint import Checkpoints
from tfscale.training.language_model import LanguageModel

STEPS_PER_CALL = 20
"""Optimizer steps between two looks at whether a signal came."""
CHECKPOINT_SECONDS = 600.0
"""Seconds after which a pass that takes long is interrupted for a checkpoint."""
_BEGUN = "begun.json"


@dataclass(frozen=True)
class FitPlan:
    """Examples, and how long they are trained on.

    Attributes:
        train: ids, targets and weights of the examples, each with N rows.
        validation: ids, targets and weights of the validation examples.
        batch: rows of a batch.
        epochs: most passes over the training examples.
        patience: passes without a lower validation loss after which training stops.
        seed: seed of the order of the examples.
    """

    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    batch: int
    epochs: int
    patience: int
    seed: int

    @property
    def steps(self) -> int:
        """Optimizer steps of a pass."""
        return math.ceil(len(self.train[0]) / self.batch)


@dataclass(frozen=True)
class Fitted:
    """How a training ended.

    Attributes:
        epochs: passes that were validated.
        steps: optimizer steps.
        interrupted: the signal that stopped it; None if none did.
    """

    epochs: int
    steps: int
    interrupted: str | None


def unfinished_folder(output: str) -> str:
    """Returns the folder with the checkpoints of a fine-tuning into `output`."""
    return f"{output.rstrip(os.sep)}.unfinished"


def fit(
    model: LanguageModel,
    plan: FitPlan,
    folder: str,
    begun: dict[str, object],
    note: Callable[[str], None],
) -> Fitted:
    """Trains a compiled model, from the checkpoint in `folder` if the same fine-tuning left one.

    Args:
        model: afterwards it has the weights with the lowest validation loss.
        plan: the examples, and how long it is trained on them.
        folder: the folder of the checkpoints; see `unfinished_folder`.
        begun: all that the result depends on, as JSON has it; checkpoints of a training that was
            begun with anything else are removed.
        note: is called with a line for each pass.

    Raises:
        TrainingError: a loss is no longer finite, that of the validation examples among them.
    """
    _begin(folder, begun, note)
    checkpoints = Checkpoints(os.path.join(folder, "checkpoints"))
    with StopRequest(note) as request:
        keeper = _Keeper(model, plan, checkpoints, request, note)
        keeper.restore(note)
        validation = batches(plan.validation, plan.batch)
        try:
            while keeper.step < plan.steps * plan.epochs and not keeper.finished:
                epoch, into = divmod(keeper.step, plan.steps)
                # The rest of a pass that was stopped is a short epoch; those after it are whole
                # again.
                model.fit(
                    batches(plan.train, plan.batch, plan.seed).skip(keeper.step),
                    verbose=0,
                    validation_data=validation,
                    initial_epoch=epoch,
                    epochs=epoch + 1 if into else plan.epochs,
                    steps_per_epoch=plan.steps - into,
                    steps_per_call=STEPS_PER_CALL,
                    callbacks=[keeper],
                    checked=True,
                )
        except _Stopped:
            return Fitted(keeper.epochs, keeper.step, request.signal)
    keeper.take_best()
    return Fitted(keeper.epochs, keeper.step, None)


def batches(arrays: tuple[np.ndarray, ...], batch: int, seed: int | None = None) -> tf.data.Dataset:
    """Returns batches of one shape, the last one filled up with rows of weight 0; with a seed they
    are shuffled anew in each pass, without an end."""
    missing = -len(arrays[0]) % batch
    padded = tuple(
        np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
        for array in arrays
    )
    dataset = tf.data.Dataset.from_tensor_slices(padded)
    if seed is not None:
        dataset = dataset.shuffle(len(padded[0]), seed=seed, reshuffle_each_iteration=True)
        return dataset.batch(batch, drop_remainder=True).repeat()
    return dataset.batch(batch, drop_remainder=True)


def _begin(folder: str, begun: dict[str, object], note: Callable[[str], None]) -> None:
    path = os.path.join(folder, _BEGUN)
    if os.path.exists(path):
        try:
            earlier = read_json(path, "the state of a fine-tuning")
        except DataError:
            earlier = None
        if earlier == begun:
            return
        note(
            f"{folder} is the state of a fine-tuning with other options, examples or weights;"
            " beginning anew"
        )
        remove_tree(os.path.join(folder, "checkpoints"))
    write_json(path, begun)


class _Stopped(Exception):
    """Ends Keras's loop after a checkpoint."""


class _Best:
    """A weight of the best pass, which a checkpoint reads and restores like a variable."""

    def __init__(self, value: np.ndarray):
        self.value, self.shape = np.array(value), np.shape(value)

    def numpy(self) -> np.ndarray:
        return self.value

    def assign(self, value: np.ndarray) -> None:
        self.value = np.array(value)


class _Keeper(keras.callbacks.Callback):
    """Keeps checkpoints on disk, and the weights of the pass with the lowest validation loss.

    It does what Keras's EarlyStopping does, whose state cannot be saved and ends with a `fit`.
    """

    def __init__(
        self,
        model: LanguageModel,
        plan: FitPlan,
        checkpoints: Checkpoints,
        request: StopRequest,
        note: Callable[[str], None],
    ):
        super().__init__()
        self.set_model(model)
        assert model.train_step_runner is not None
        self.runner, self.plan, self.checkpoints = model.train_step_runner, plan, checkpoints
        self.request, self.note = request, note
        self.best = [_Best(value) for value in model.get_weights()]
        self.lowest, self.wait, self.epochs, self.finished = math.inf, 0, 0, False
        self._saved = time.monotonic()

    @property
    def step(self) -> int:
        return int(self.runner.step.numpy())

    def restore(self, note: Callable[[str], None]) -> None:
        """Restores the latest checkpoint, or writes the one of the beginning."""
        try:
            step, damaged = self.checkpoints.restore_latest(self._state())
        except CheckpointError as error:
            step, damaged = 0, [f"{error}; beginning anew"]
        for line in damaged:
            note(line)
        if not self.checkpoints.restored:
            self._save()
            return
        passes = self.checkpoints.restored["passes"]
        self.lowest = math.inf if passes["lowest"] is None else passes["lowest"]
        self.wait, self.epochs, self.finished = passes["wait"], passes["epochs"], passes["finished"]
        note(f"going on at step {step:,} of {self.plan.steps * self.plan.epochs:,}")

    def take_best(self) -> None:
        self.model.set_weights([best.value for best in self.best])

    def _state(self) -> dict[str, object]:
        return self.runner.state() | {f"best/{place}": best for place, best in enumerate(self.best)}

    def _save(self) -> None:
        passes = {
            "lowest": self.lowest,
            "wait": self.wait,
            "epochs": self.epochs,
            "finished": self.finished,
        }
        self.checkpoints.save(self.step, self._state(), {"passes": passes})
        self._saved = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if self.step % self.plan.steps == 0:  # The pass is over; it is validated first.
            return
        if self.request.signal or time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self._save()
        if self.request.signal:
            raise _Stopped

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        check_validation(logs["val_loss"], self.step)
        # There is none if all steps of the pass were skipped, because float16 overflowed.
        loss = f"loss {logs['loss']:.4f}" if "loss" in logs else "no loss"
        self.note(f"pass {epoch + 1}: {loss}, validation loss {logs['val_loss']:.4f}")
        self.epochs, self.wait = epoch + 1, self.wait + 1
        improved = logs["val_loss"] < self.lowest
        if improved:
            self.lowest, self.wait = logs["val_loss"], 0
        if improved or epoch == 0:
            self.best = [_Best(value) for value in self.model.get_weights()]
        # Keras, too, looks at its patience from the second pass on.
        self.finished = self.wait >= self.plan.patience and epoch > 0
        self.model.stop_training = self.finished
        self._save()
        # After the last pass there is nothing left to stop.
        if self.request.signal and not self.finished and self.epochs < self.plan.epochs:
            raise _Stopped
