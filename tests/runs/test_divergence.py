"""What a training that has diverged leaves: nothing of it is kept, and no checkpoint of it is called good."""

import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfscale.errors import TrainingError, WorkerLostError
from tfscale.runs.divergence import (
    check_validation,
    check_weights,
    naming_checkpoint,
    skipped_note,
)
from tfscale.training.checkpoint import Checkpoints


def counters(step, overflows):
    return {name: tf.Variable(value) for name, value in (("step", step), ("overflows", overflows))}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="head")])
    check_weights(network, 3)
    network.layers[0].bias.assign([0.0, value])
    with pytest.raises(TrainingError, match=r"weight .*head/bias is not finite after step 1,003\."):
        check_weights(network, 1003)


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_validation_loss_that_is_not_finite_is_refused(loss):
    check_validation(700.0, 5)
    with pytest.raises(TrainingError, match=f"validation loss after step 5 is {loss}"):
        check_validation(loss, 5)


@pytest.mark.parametrize(
    "checkpoints,step,overflows,good",
    [
        ([], 7, 0, "there is none"),
        # The bad step is counted in both: after checkpoint 6 no step was good, after 4 two were.
        ([(4, 0), (6, 0)], 7, 1, "step-00000004.npz"),
        ([(4, 0), (6, 0)], 8, 1, "step-00000006.npz"),
        # Steps 2 to 7 were skipped: both have the weights of step 1, from which no loss came.
        ([(4, 3), (6, 5)], 7, 6, "there is none"),
        ([(1, 0), (6, 4)], 8, 6, "step-00000001.npz"),
    ],
)
def test_a_checkpoint_is_good_when_a_step_was_taken_from_its_weights(
    tmp_path, checkpoints, step, overflows, good
):
    kept = Checkpoints(str(tmp_path))
    for counted in checkpoints:
        kept.save(counted[0], counters(*counted), {})
    runner = SimpleNamespace(**counters(step, overflows))
    with (
        pytest.raises(
            TrainingError, match=rf"^it broke\. Last good checkpoint: .*{re.escape(good)}$"
        ),
        naming_checkpoint(kept, runner),
    ):
        raise TrainingError("it broke")


def test_a_lost_worker_leaves_the_newest_checkpoint_good(tmp_path):
    kept = Checkpoints(str(tmp_path))
    kept.save(6, counters(6, 0), {})
    with (
        pytest.raises(WorkerLostError, match="step-00000006"),
        naming_checkpoint(kept, SimpleNamespace(**counters(6, 0))),
    ):
        raise WorkerLostError("it went away")


def test_skipped_steps_are_said():
    assert skipped_note(0, 10) == ""
    assert skipped_note(4, 5).startswith("4 of 5 steps changed nothing")
