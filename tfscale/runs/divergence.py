"""Training that has diverged: it is said, and what it left is neither kept nor called good.

The train step refuses a loss or a gradient that is not finite, and leaves the weights as they were.
Those may be beyond repair all the same: a rate that is far too high makes weights from which no
loss can be computed, and the step that would show it may never come.
"""

import contextlib
import math
from collections.abc import Iterator

import keras
import tensorflow as tf

from tfscale.errors import CheckpointError, TrainingError, WorkerLostError
from tfscale.training.checkpoint import Checkpoints, network_state, read_arrays
from tfscale.training.step_state import StepState

_NONE = "there is none"
_MEND = "Lower the learning rate, or look at the data"


def check_weights(network: keras.Model, step: int) -> None:
    """Refuses weights that are not finite after a step, before they are written.

    Raises:
        TrainingError: names a weight.
    """
    for name, variable in network_state(network).items():
        # On its device: a checkpoint fetches the weights once as it is.
        numbers = tf.convert_to_tensor(variable)
        if numbers.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(numbers)):
            path = name.split("/", 2)[2]
            raise TrainingError(
                f"the training has diverged: the weight {path} is not finite after step {step:,}."
                f" {_MEND}"
            )


def check_validation(loss: float, step: int) -> None:
    """Refuses a validation loss that is not finite, before anything of that step is written.

    Raises:
        TrainingError: it is not.
    """
    if not math.isfinite(loss):
        raise TrainingError(
            f"the training has diverged: the validation loss after step {step:,} is {loss}. {_MEND}"
        )


def skipped_note(overflows: int, steps: int) -> str:
    """Returns a line that says how many steps changed nothing; empty where all did something."""
    if not overflows:
        return ""
    return (
        f"{overflows:,} of {steps:,} steps changed nothing, because a gradient was beyond float16's"
        " range; each halved the loss scale"
    )


@contextlib.contextmanager
def naming_checkpoint(checkpoints: Checkpoints, runner: StepState) -> Iterator[None]:
    """Adds to an error of training which checkpoint is the last good one.

    Args:
        checkpoints: those of the run.
        runner: the train step.
    """
    try:
        yield
    except WorkerLostError as error:
        steps = checkpoints.steps()
        last = checkpoints.path(steps[-1]) if steps else _NONE
        raise type(error)(f"{error}. Last good checkpoint: {last}") from error
    except TrainingError as error:
        good = _last_good(checkpoints, runner) or _NONE
        raise type(error)(f"{error}. Last good checkpoint: {good}") from error


def _last_good(checkpoints: Checkpoints, runner: StepState) -> str:
    """Returns the newest checkpoint whose weights gave a finite loss; empty where none did.

    The weights of one that has as many updates as the run has now are those that failed.
    """
    updates = int(runner.step.numpy()) - int(runner.overflows.numpy())
    for step in reversed(checkpoints.steps()):
        path = checkpoints.path(step)
        with contextlib.suppress(CheckpointError):
            arrays, _ = read_arrays(path)
            if int(arrays["step"]) - int(arrays["overflows"]) < updates:
                return path
    return ""
