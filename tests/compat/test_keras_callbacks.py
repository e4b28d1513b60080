"""The private names of callbacks in compat/keras_callbacks.py do what tfscale needs them for."""

import keras
import numpy as np
import pytest

from tfscale.compat import keras_callbacks as compat


@pytest.mark.parametrize(("batch", "profiles"), [(0, False), (3, True), ((2, 4), True)])
def test_profiles_batches(tmp_path, batch, profiles):
    callback = keras.callbacks.TensorBoard(tmp_path, profile_batch=batch)
    assert compat.profiles_batches(callback) is profiles


def test_profiled_steps(tmp_path):
    callback = keras.callbacks.TensorBoard(tmp_path, profile_batch=(2, 4))
    assert compat.profiled_steps(callback) == (2, 4)


def test_the_epoch_that_a_backup_restores(tmp_path):
    model = keras.Sequential([keras.layers.Embedding(4, 3), keras.layers.Dense(5)])
    model(np.zeros((1, 2), "int32"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    callback = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    data = (np.zeros((2, 2), "int32"), np.zeros((2, 2), "int32"))
    stop = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: 1 // (2 - epoch))
    with pytest.raises(ZeroDivisionError):
        model.fit(*data, epochs=3, verbose=0, callbacks=[callback, stop])
    compat.forget_restored_epoch(model)
    assert compat.restored_epoch(model) is None
    callback.on_train_begin()
    assert compat.restored_epoch(model) == 2
