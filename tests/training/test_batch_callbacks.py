"""Which callbacks see each step by itself, and that Keras's own count steps, not calls."""

import h5py
import keras
import numpy as np
import pytest
from tensorflow.python.summary.summary_iterator import summary_iterator

from tfscale.training.fit.batch_callbacks import CallEnds, acts_on_batches, default_steps_per_call
from tfscale.training.fit.loop import StepCalls
from tfscale.training.language_model import LanguageModel


class OfBatches(keras.callbacks.Callback):
    def on_batch_end(self, batch, logs=None):
        pass


class OfEpochs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        pass


@pytest.mark.parametrize(
    "callback,acts",
    [
        (OfBatches(), True),
        (OfEpochs(), False),
        (keras.callbacks.LambdaCallback(on_train_batch_end=print), True),
        (keras.callbacks.LambdaCallback(on_epoch_end=print), False),
        (keras.callbacks.ModelCheckpoint("a.keras", save_freq=7), True),
        (keras.callbacks.ModelCheckpoint("a.keras"), False),
        (keras.callbacks.BackupAndRestore("a", save_freq=7), True),
        (keras.callbacks.BackupAndRestore("a"), False),
        (keras.callbacks.TensorBoard("a", update_freq="batch"), True),
        (keras.callbacks.TensorBoard("a", update_freq=100), True),
        (keras.callbacks.TensorBoard("a", profile_batch=(10, 20)), True),
        (keras.callbacks.TensorBoard("a"), False),
        (keras.callbacks.ProgbarLogger(), False),
        (keras.callbacks.TerminateOnNaN(), False),
        (keras.callbacks.EarlyStopping(), False),
        (keras.callbacks.CSVLogger("a"), False),
    ],
)
def test_who_acts_on_batches(callback, acts):
    assert acts_on_batches(callback) == acts
    assert default_steps_per_call([keras.callbacks.History(), callback]) == (1 if acts else 20)


X = np.zeros((40, 3), "int32")


def fit(*callbacks, **options):
    """Two epochs of 10 steps."""
    model = LanguageModel(
        keras.Sequential([keras.Input((None,), dtype="int32"), keras.layers.Embedding(4, 4)])
    )
    model.compile("sgd", xla=False)
    given = {"batch_size": 4, "epochs": 2, "verbose": 0, **options}
    return model.fit(X, X, callbacks=list(callbacks), **given)


def steps_written(folder):
    """The steps of the batch summaries of a TensorBoard folder."""
    steps = set()
    for path in (folder / "train").glob("events*"):
        for event in summary_iterator(str(path)):
            if any(value.tag == "batch_loss" for value in event.summary.value):
                steps.add(event.step)
    return sorted(steps)


@pytest.mark.parametrize("steps_per_call", [None, 1, 7, 20])
def test_tensorboard_counts_steps(steps_per_call, tmp_path):
    board = keras.callbacks.TensorBoard(tmp_path, update_freq=3, write_graph=False)
    fit(board, steps_per_call=steps_per_call)
    assert steps_written(tmp_path) == [3, 6, 9, 12, 15, 18]


@pytest.mark.parametrize("steps_per_call", [None, 20])
def test_files_are_saved_after_steps(steps_per_call, tmp_path):
    def taken(path):
        with h5py.File(path) as file:
            return int(file["optimizer/vars/0"][()])

    save = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}-{batch}.weights.h5", save_freq=6, save_weights_only=True
    )
    backups = []

    class Backup(keras.callbacks.BackupAndRestore):
        def _save_model(self):
            super()._save_model()
            backups.append(int(self.model.optimizer.iterations))

    backup = Backup(tmp_path / "backup", save_freq=6, delete_checkpoint=False)
    fit(save, backup, steps_per_call=steps_per_call)
    files = {path.name.split(".")[0]: taken(path) for path in tmp_path.glob("*.h5")}
    assert files == {"1-6": 6, "2-2": 12, "2-8": 18}
    assert backups == [6, 12, 18]


def test_the_profiled_steps_are_whole_calls():
    ends = CallEnds([keras.callbacks.TensorBoard("a", profile_batch=(5, 9))])
    calls, taken = StepCalls(20, 20, (), ends), 0
    seen = []
    while taken < 20:
        taken += calls.next(0, 20 - taken, taken)
        seen.append(taken)
    assert seen == [4, 5, 9, 20]
