"""`tfscale.Model` with several steps a call: what callbacks that look at batches get is what stock
Keras gives them, but that TensorBoard counts steps."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import tfscale
from tfscale.training.fit.board_steps import BoardSteps

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
    return (
        calls.ended,
        sorted(path.name for path in folder.glob("*.h5")),
        board_events(folder / "logs"),
    )


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_batch_callbacks_see_what_keras_shows_them(tmp_path, steps_per_execution):
    stock, ours = (
        recorded(tmp_path / name, name == "ours", steps_per_execution) for name in ("stock", "ours")
    )
    assert [step for step, _ in ours[0]] == [step for step, _ in stock[0]]
    np.testing.assert_allclose([v for _, v in ours[0]], [v for _, v in stock[0]], rtol=1e-5)
    assert ours[1] == stock[1]
    files = ours[1]
    if steps_per_execution == 1:
        assert files == [f"{epoch}-{batch}.weights.h5" for epoch in (1, 2) for batch in (4, 8)]
        assert [step for step, _ in ours[2]] == [2, 4, 6, 8, 10, 12, 14, 16]
        np.testing.assert_allclose(ours[2], stock[2], rtol=1e-5)
    else:
        assert files == ["1-6.weights.h5", "2-3.weights.h5", "2-9.weights.h5"]


def board_events(folder, tag="batch_loss"):
    """Returns (step, value) of what a TensorBoard folder has under a tag."""
    return [
        (event.step, float(np.frombuffer(value.tensor.tensor_content, "float32")[0]))
        for path in sorted((folder / "train").glob("*.v2"))
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.tag == tag
    ]


def generated():
    """Batches whose number Keras does not know."""
    for start in range(0, len(X), 4):
        yield X[start : start + 4], Y[start : start + 4]


DATASET = tf.data.Dataset.from_generator(
    generated, output_signature=tuple(tf.TensorSpec([4, size]) for size in (4, 1))
)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("frequency", "steps"),
    # Calls of 3 steps, in epochs of 8, end at steps 3, 6, 8, 11, 14 and 16.
    [(1, [3, 6, 8, 11, 14, 16]), (2, [3, 6, 8, 11, 14, 16]), (4, [6, 8, 14, 16]), (9, [11])],
)
def test_tensorboard_counts_steps(tmp_path, frequency, steps, known):
    """A curve has the step that was the last of a call, where one of them was due."""
    calls = Calls()
    board = keras.callbacks.TensorBoard(tmp_path, update_freq=frequency, write_graph=False)
    data = {"x": X, "y": Y, **FIT} if known else {"x": DATASET, "shuffle": False, "verbose": 0}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your input ran out of data")
        compiled(True, 3).fit(**data, epochs=2, callbacks=[board, calls])
    found = board_events(tmp_path)
    assert [step for step, _ in found] == steps
    losses = dict(zip([3, 6, 8, 11, 14, 16], [loss for _, loss in calls.ended], strict=True))
    np.testing.assert_allclose([v for _, v in found], [losses[s] for s in steps], rtol=1e-6)


def test_tensorboard_in_a_list_of_keras_counts_steps_by_place_too(tmp_path):
    model = compiled(True, 4)
    for name, given in (("one", lambda board: board), ("list", lambda board: listed(board, model))):
        board = keras.callbacks.TensorBoard(tmp_path / name, update_freq=4, write_graph=False)
        callbacks = given(board)
        model.fit(X, Y, 4, 1, 0, callbacks)
        assert [step for step, _ in board_events(tmp_path / name)] == [4, 8]
    assert board in callbacks.callbacks
    assert not any(isinstance(one, BoardSteps) for one in callbacks.callbacks)


def listed(board, model):
    return keras.callbacks.CallbackList([board], model=model, epochs=1, steps=STEPS)


def test_tensorboard_profiles_the_calls_of_its_steps(tmp_path):
    """Steps 5 to 7 are in the calls that end at 6 and 8."""
    seen = []

    class Board(keras.callbacks.TensorBoard):
        def _start_trace(self):
            seen.append(("begins at", self._global_train_batch))
            self._is_tracing = True

        def _stop_trace(self, batch=None):
            seen.append(("ends at", self._global_train_batch))
            self._is_tracing = False

    board = Board(tmp_path, write_graph=False)
    board._start_batch, board._stop_batch, board._should_trace = 5, 7, True
    compiled(True, 3).fit(X, Y, callbacks=[board], **FIT)
    assert seen == [("begins at", 5), ("ends at", 8)]


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
