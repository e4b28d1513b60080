"""A `LanguageModel` that Keras saved goes on exactly: by every way of saving, with every kind of state."""

import contextlib

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tfscale import models
from tfscale.compress import PolynomialDecay, distill, prune, quantize_aware, strip
from tfscale.config import LSTMConfig
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError
from tfscale.training.fit.loop import FitLoop
from tfscale.training.language_model import LanguageModel

VOCABULARY, ROWS, LENGTH, WINDOWS = 16, 8, 6, 3
STREAMS = (
    np.random.default_rng(0).integers(0, VOCABULARY, (ROWS, WINDOWS * LENGTH + 1)).astype("int32")
)
# Row b of a batch goes on where row b of the one before stopped, as a stateful network needs it.
X, Y = (
    np.concatenate([STREAMS[:, first + LENGTH * w :][:, :LENGTH] for w in range(WINDOWS)])
    for first in (0, 1)
)
STATEFUL = LSTMConfig(
    vocabulary_size=VOCABULARY, sequence_length=LENGTH, embedding_dim=4, hidden_dim=4, stateful=True
)
DECAY = {
    "initial_sparsity": 0.0,
    "final_sparsity": 0.5,
    "begin_step": 2,
    "end_step": 10,
    "frequency": 4,
}
OPTIONS = {
    "plain": {},
    "ema": {"ema_decay": 0.9},
    "pruned": {"ema_decay": 0.2},
    "quantization-aware": {},
    "mixed_float16": {},
    "stateful": {"streams": ROWS},
}


def kinds(*quick):
    """Every kind; `make test-slow` has those that are not named."""
    return [pytest.param(kind, marks=() if kind in quick else pytest.mark.slow) for kind in OPTIONS]


def own_network(dtype="float32"):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Embedding(VOCABULARY, 8, dtype=dtype),
        keras.layers.Dropout(0.3, dtype=dtype),
        keras.layers.Dense(8, "tanh", dtype=dtype),
        keras.layers.Dense(VOCABULARY, dtype=dtype),
    ]
    return keras.Sequential([keras.Input((None,), dtype="int32"), *layers])


def make(kind, **options):
    """A new compiled model of a kind; plain ones leave a table out of the weight decay."""
    dtype = "mixed_float16" if kind == "mixed_float16" else "float32"
    model = LanguageModel(
        models.build_network(STATEFUL) if kind == "stateful" else own_network(dtype)
    )
    if kind == "pruned":
        prune(model, PolynomialDecay(**DECAY))
    if kind == "quantization-aware":
        quantize_aware(model, "int8")
    optimizer = keras.optimizers.AdamW(0.02, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=model.network.trainable_variables[:1])
    model.compile(optimizer, **{"xla": False, "seed": 3, **OPTIONS[kind], **options})
    return model


def fit(model, epochs=4, kind="", **options):
    history = model.fit(
        X, Y, batch_size=ROWS, epochs=epochs, verbose=0, shuffle=kind != "stateful", **options
    )
    return history.history


def everything(model):
    return {
        name: np.asarray(variable.numpy())
        for name, variable in model.train_step_runner.state().items()
    }


def assert_same(state, expected):
    # Names of weights may be counted on in a process.
    for (name, value), other in zip(state.items(), expected.values(), strict=True):
        np.testing.assert_array_equal(value, other, err_msg=name)


class Stop(keras.callbacks.Callback):
    """Breaks a training off at a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == self.step:
            raise InterruptedError


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """kind -> (folder with files of the second epoch, history, state) of four epochs of three steps without a break."""
    runs = {}

    def run(kind):
        if kind not in runs:
            folder, model = tmp_path_factory.mktemp("unbroken"), make(kind)
            if kind == "mixed_float16":
                model.train_step_runner.loss_scale.value.assign(2.0**10)
            files = keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras")
            weights = keras.callbacks.ModelCheckpoint(
                folder / "{epoch}.weights.h5", save_weights_only=True
            )
            history = fit(model, kind=kind, callbacks=[files, weights], validation_data=(X, Y))
            runs[kind] = folder, history, everything(model)
        return runs[kind]

    return run


@pytest.mark.parametrize("kind", kinds("mixed_float16", "stateful"))
def test_a_file_of_model_checkpoint_goes_on_exactly(unbroken, kind):
    model = keras.models.load_model(unbroken(kind)[0] / "2.keras")
    check_that_it_goes_on(model, unbroken, kind)


@pytest.mark.parametrize("kind", kinds("pruned", "stateful"))
def test_weights_of_model_checkpoint_go_on_exactly(unbroken, kind):
    model = make(kind)
    model.load_weights(unbroken(kind)[0] / "2.weights.h5")
    check_that_it_goes_on(model, unbroken, kind)


def check_that_it_goes_on(model, unbroken, kind):
    _, history, expected = unbroken(kind)
    assert model.evaluate(X, Y, batch_size=ROWS)["loss"] == history["val_loss"][1]
    again = fit(model, kind=kind, initial_epoch=2)
    assert_same(everything(model), expected)
    np.testing.assert_allclose(again["loss"], history["loss"][2:], rtol=1e-6)


@pytest.mark.parametrize("kind", kinds("stateful"))
def test_backup_and_restore_goes_on_exactly_within_an_epoch(unbroken, tmp_path, kind):
    """Where Keras's own `fit` would take its first steps once more."""
    check_backup(unbroken, tmp_path, kind, 2, 5, [1, 2, 3])


@pytest.mark.parametrize("kind", kinds("plain"))
def test_backup_and_restore_goes_on_exactly_after_an_epoch(unbroken, tmp_path, kind):
    check_backup(unbroken, tmp_path, kind, "epoch", 7, [2, 3])


def check_backup(unbroken, tmp_path, kind, save_freq, step, epochs):
    _, history, expected = unbroken(kind)

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=save_freq)

    model = make(kind)
    if kind == "mixed_float16":
        model.train_step_runner.loss_scale.value.assign(2.0**10)
    with contextlib.suppress(InterruptedError):
        fit(model, kind=kind, callbacks=[backup(), Stop(step)], validation_data=(X, Y))
    model = make(kind)
    result = model.fit(
        X,
        Y,
        batch_size=ROWS,
        epochs=4,
        verbose=0,
        shuffle=kind != "stateful",
        callbacks=[backup()],
        validation_data=(X, Y),
    )
    assert result.epoch == epochs
    assert_same(everything(model), expected)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(result.history[name], history[name][epochs[0] :], rtol=1e-6)


@pytest.mark.parametrize("kind", kinds("stateful"))
def test_early_stopping_and_the_best_file_have_the_loss_they_were_chosen_by(kind, tmp_path):
    model = make(kind)
    options = {
        "monitor": "val_loss",
        "mode": "max",
    }  # the loss falls, so that the first epoch is what is kept
    stop = keras.callbacks.EarlyStopping(**options, patience=1, restore_best_weights=True)
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", **options, save_best_only=True)
    losses = fit(model, kind=kind, callbacks=[stop, best], validation_data=(X, Y))["val_loss"]
    assert len(losses) == 2 and losses[1] < losses[0]
    restored = model.evaluate(X, Y, batch_size=ROWS)["loss"]
    assert restored == losses[0]
    assert (
        keras.models.load_model(tmp_path / "best.keras").evaluate(X, Y, batch_size=ROWS)["loss"]
        == losses[0]
    )


@pytest.mark.slow
def test_set_weights_takes_the_averages_along():
    model, other = make("ema"), make("ema")
    fit(model, epochs=1)
    fit(other, epochs=1, initial_epoch=0, sample_weight=np.arange(len(X)))
    assert len(model.get_weights()) == 2 * len(model.network.get_weights())
    np.testing.assert_array_equal(model.get_weights()[0], model.network.get_weights()[0])
    other.set_weights(model.get_weights())
    assert other.evaluate(X, Y) == model.evaluate(X, Y)
    assert len(make("plain").get_weights()) == len(own_network().get_weights())


def test_predict_uses_the_weights_that_evaluate_uses():
    model = make("ema")
    fit(model, epochs=1)
    trained = np.asarray(model(X))
    with model.averaged_weights():
        averaged = np.asarray(model(X))
    np.testing.assert_allclose(model.predict(X, verbose=0), averaged, atol=1e-6)
    assert abs(averaged - trained).max() > 1e-3
    np.testing.assert_array_equal(np.asarray(model(X)), trained)


@pytest.mark.parametrize("kind", ["ema", "stateful"])
def test_a_compiled_file_is_loaded_in_the_scope_of_two_replicas(kind, tmp_path):
    with strategy("mirrored").scope():
        model = make(kind)
    fit(
        model,
        kind=kind,
        epochs=1,
        callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")],
    )
    kept = model.get_weights()
    fit(model, kind=kind, epochs=2, initial_epoch=1)
    with strategy("mirrored").scope():
        again = keras.models.load_model(tmp_path / "1.keras")
    for value, expected in zip(again.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(value, expected)
    fit(again, kind=kind, epochs=2, initial_epoch=1)
    assert_same(everything(again), everything(model))
    again.set_weights(kept)
    assert all(
        (value == expected).all() for value, expected in zip(again.get_weights(), kept, strict=True)
    )


def without_state(path):
    """Makes a weights file what an earlier version wrote."""
    with h5py.File(path, "a") as file:
        del file["layers/train_state"]


@pytest.mark.slow
def test_weights_files_of_earlier_versions_start_the_state_anew(tmp_path):
    model = make("pruned")
    fit(model)
    model.save_weights(tmp_path / "w.weights.h5")
    without_state(tmp_path / "w.weights.h5")
    again = make("pruned")
    fit(again, epochs=1)
    again.load_weights(tmp_path / "w.weights.h5")
    state, expected = everything(again), everything(model)
    assert (state["step"], state["overflows"]) == (0, 0)
    for index in range(2):
        np.testing.assert_array_equal(state[f"mask/{index}"], expected[f"mask/{index}"])
    averages = [state[f"average/{i}"] for i in range(len(model.network.trainable_variables))]
    for average, weight in zip(averages, model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(average, weight)


def test_a_model_that_is_loaded_without_compiling_keeps_the_state_for_compile(unbroken, tmp_path):
    folder, history, _ = unbroken("ema")
    model = keras.models.load_model(folder / "2.keras", compile=False)
    assert model.evaluate(X, Y, batch_size=ROWS)["loss"] == pytest.approx(
        history["val_loss"][1], rel=1e-6
    )
    model.save(tmp_path / "again.keras")
    model = keras.models.load_model(tmp_path / "again.keras")
    model.compile("sgd", ema_decay=0.9, xla=False)
    assert int(model.train_step_runner.step.numpy()) == 6
    assert model.evaluate(X, Y, batch_size=ROWS)["loss"] == history["val_loss"][1]


@pytest.mark.slow
def test_what_a_file_cannot_keep_is_asked_for_again(tmp_path, monkeypatch):
    model = LanguageModel(own_network())
    distill(model, own_network())
    model.compile(keras.optimizers.Adam(0.01), xla=False)
    fit(model, epochs=1)
    model.save(tmp_path / "student.keras")
    again = keras.models.load_model(tmp_path / "student.keras")
    with pytest.raises(
        ConfigError,
        match=r"what tfscale.compress.distill set: call it again, then compile\(model.opt",
    ):
        fit(again)
    assert int(again.optimizer.iterations.numpy()) == 3

    monkeypatch.setattr(LanguageModel, "get_compile_config", keras.Model.get_compile_config)
    model.save(tmp_path / "earlier.keras")
    again = keras.models.load_model(tmp_path / "earlier.keras")
    with pytest.raises(
        ConfigError, match="keeps the optimizer, but not the other arguments of compile"
    ):
        fit(again)
    again.compile(again.optimizer, xla=False)
    fit(again, epochs=1)
    assert int(again.optimizer.iterations.numpy()) == 6


def test_stripped_and_compiled_anew_models_have_the_state_of_their_step_alone():
    model = make("pruned")
    trained = len(model.network.weights)
    assert len(model.weights) == 2 * trained + 2
    with pytest.warns(UserWarning, match="nothing was pruned"):
        strip(model)
    assert len(model.weights) == trained
    model.compile("sgd", ema_decay=0.5, xla=False)
    assert len(model.weights) == 2 * trained


@pytest.mark.parametrize("shuffle", [True, False])
def test_epochs_in_one_call_are_those_of_several(shuffle):
    one, several = make("plain"), make("plain")
    one.fit(X, Y, batch_size=5, epochs=3, verbose=0, shuffle=shuffle)
    for epochs in (1, 2):
        several.fit(X, Y, batch_size=5, epochs=epochs, verbose=0, shuffle=shuffle)
    assert_same(everything(several), everything(one))


def test_each_call_reads_the_rows_in_another_order(monkeypatch):
    orders = []
    run = FitLoop._run_epoch

    def watched(self, iterator, calls):
        batches = [np.asarray(next(iterator)[0]) for _ in range(self.data.steps_per_epoch)]
        orders.append(np.concatenate(batches)[:, 0].tolist())
        return {}

    model = make("plain")
    ids = np.arange(12)[:, None]
    for _ in range(3):
        monkeypatch.setattr(FitLoop, "_run_epoch", watched)
        model.fit(ids, ids, batch_size=4, verbose=0)
        monkeypatch.setattr(FitLoop, "_run_epoch", run)
        model.train_step_runner.step.assign_add(3)
    assert [sorted(order) for order in orders] == [list(range(12))] * 3
    assert orders[0] != orders[1] != orders[2] != orders[0]


def saved_steps(**options):
    """At which steps a checkpoint every 7 steps is written, in four epochs of 10 steps."""
    steps, model = [], make("plain")
    callback = keras.callbacks.ModelCheckpoint("never.keras", save_freq=7)
    callback._save_model = lambda **_: steps.append(int(model.optimizer.iterations.numpy()))
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(ROWS).repeat()
    model.fit(data, epochs=4, steps_per_epoch=10, verbose=0, callbacks=[callback], **options)
    return steps


def test_a_checkpoint_every_few_steps_is_written_at_these_steps():
    assert saved_steps() == saved_steps(steps_per_call=3) == [7, 14, 21, 28, 35]
