"""Which callbacks see each step by itself."""

import keras
import pytest

from tfscale.training.fit.batch_callbacks import acts_on_batches, default_steps_per_call


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
