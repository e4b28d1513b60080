"""`tfscale.Model` with several steps a call: what callbacks that look at batches get is what stock
Keras gives them."""

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import tfscale

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(32, 4)).astype("float32"), RNG.normal(size=(32, 1)).astype("float32")
STEPS = 8
FIT = {"batch_size": 4, "shuffle": False, "verbose": 0}


def compiled(ours, steps_per_execution):
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model = tfscale.Model(network) if ours else network
    model.compile("adam", "mse", jit_compile=False, steps_per_execution=steps_per_execution)
    return model


class Calls(keras.callbacks.Callback):
    """Keeps the number and the loss of every call."""

    def __init__(self):
        super().__init__()
        self.ended = []

    def on_train_batch_end(self, batch, logs=None):
        self.ended.append((batch, float(logs["loss"])))


def recorded(folder, ours, steps_per_execution):
    """Calls, files of weights by (epoch, batch), and TensorBoard's (step, loss) of batches."""
    folder.mkdir()
    calls = Calls()
    callbacks = [
        calls,
        keras.callbacks.TensorBoard(folder / "logs", update_freq=2),
        keras.callbacks.ModelCheckpoint(
            folder / "{epoch}-{batch}.weights.h5", save_freq=4, save_weights_only=True
        ),
    ]
    compiled(ours, steps_per_execution).fit(X, Y, epochs=2, callbacks=callbacks, **FIT)
    events = [
        (event.step, float(np.frombuffer(value.tensor.tensor_content, "float32")[0]))
        for path in sorted((folder / "logs" / "train").glob("*.v2"))
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.tag == "batch_loss"
    ]
    return calls.ended, sorted(path.name for path in folder.glob("*.h5")), events


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_batch_callbacks_see_what_keras_shows_them(tmp_path, steps_per_execution):
    stock, ours = (
        recorded(tmp_path / name, name == "ours", steps_per_execution) for name in ("stock", "ours")
    )
    for found, wanted in zip((ours[0], ours[2]), (stock[0], stock[2]), strict=True):
        assert [step for step, _ in found] == [step for step, _ in wanted]
        np.testing.assert_allclose([v for _, v in found], [v for _, v in wanted], rtol=1e-5)
    assert ours[1] == stock[1]
    # A checkpoint counts steps; TensorBoard counts calls, of which an epoch of 8 steps has 3.
    files, axis = ours[1], [step for step, _ in ours[2]]
    if steps_per_execution == 1:
        assert files == [f"{epoch}-{batch}.weights.h5" for epoch in (1, 2) for batch in (4, 8)]
        assert axis == [2, 4, 6, 8, 10, 12, 14, 16]
    else:
        assert files == ["1-6.weights.h5", "2-3.weights.h5", "2-9.weights.h5"]
        assert axis == [2, 4, 6]


def test_a_training_that_broke_off_goes_on_as_keras_does(tmp_path):
    class Break(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() >= STEPS + 6:
                raise KeyboardInterrupt

    found = []
    for ours in (False, True):
        backup = keras.callbacks.BackupAndRestore(tmp_path / f"backup-{ours}", save_freq=4)
        with pytest.raises(KeyboardInterrupt):
            compiled(ours, 3).fit(X, Y, epochs=3, callbacks=[backup, Break()], **FIT)
        again = compiled(ours, 3)
        again.fit(X, Y, epochs=3, callbacks=[backup], **FIT)
        found.append((int(again.optimizer.iterations.numpy()), again.get_weights()))
    (stock_steps, stock), (our_steps, ours) = found
    assert our_steps == stock_steps
    for weight, wanted in zip(ours, stock, strict=True):
        np.testing.assert_allclose(weight, wanted, rtol=0, atol=1e-6)
