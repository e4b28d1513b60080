"""`LanguageModel` as a Keras user meets it."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.tiny import CONFIGS, LENGTH, VOCABULARY
from tfscale import models
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError, DataError
from tfscale.training.batches import as_batches, check_divisible
from tfscale.training.language_model import LanguageModel


def language_model(**options):
    model = LanguageModel(models.build_network(CONFIGS["transformer"]))
    model.compile(keras.optimizers.AdamW(1e-2), xla=False, **options)
    return model


def test_a_users_own_keras_model_trains_and_is_evaluated(windows):
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, 16)(inputs)
    x = keras.layers.GRU(16, return_sequences=True)(x)
    model = LanguageModel(keras.Model(inputs, keras.layers.Dense(VOCABULARY)(x)))
    model.compile("adam", xla=False)
    history = model.fit(*windows, batch_size=16, epochs=12, verbose=0, validation_data=windows)
    assert history.history["loss"][-1] < history.history["loss"][0]
    scores = model.evaluate(*windows, batch_size=7)
    logits = model.network(windows[0]).numpy().astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_p, windows[1][..., None], -1).mean()
    assert scores["loss"] == pytest.approx(expected, abs=1e-6)
    assert scores["perplexity"] == pytest.approx(np.exp(expected), rel=1e-6)
    assert scores["tokens"] == 48 * LENGTH
    assert history.history["val_loss"][-1] == pytest.approx(expected, abs=1e-5)


def test_keras_callbacks_are_driven_as_by_keras(windows, tmp_path):
    calls = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            calls.append((batch, sorted(logs)))

        def on_epoch_end(self, epoch, logs=None):
            calls.append(("epoch", epoch, sorted(logs)))

    model = language_model()
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5", save_best_only=True, save_weights_only=True
    )
    model.fit(
        *windows,
        batch_size=16,
        epochs=2,
        verbose=0,
        validation_data=windows,
        steps_per_call=2,
        callbacks=[Watch(), best],
    )
    names = [
        "gradient_norm",
        "input_wait",
        "learning_rate",
        "loss",
        "perplexity",
        "seconds",
        "tokens",
        "tokens_per_second",
    ]
    epoch = [
        "learning_rate",
        "loss",
        "perplexity",
        "tokens_per_second",
        "val_loss",
        "val_perplexity",
    ]
    one = [(1, names), (2, names)]
    assert calls == [*one, ("epoch", 0, epoch), *one, ("epoch", 1, epoch)]
    again = LanguageModel(models.build_network(CONFIGS["transformer"]))
    again.load_weights(tmp_path / "best.weights.h5")
    assert all(
        (a == b).all() for a, b in zip(again.get_weights(), model.get_weights(), strict=True)
    )


def test_early_stopping_stops(windows):
    model = language_model()
    stop = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=0)
    history = model.fit(*windows, batch_size=16, epochs=9, verbose=0, callbacks=[stop])
    assert len(history.history["loss"]) == 2


def test_calls_end_at_the_multiples_asked_for(windows):
    steps = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(batch + 1)

    dataset = tf.data.Dataset.from_tensor_slices(windows).batch(16).repeat()
    language_model().fit(
        dataset,
        steps_per_epoch=14,
        verbose=0,
        callbacks=[Watch()],
        steps_per_call=4,
        stop_at_multiples_of=(5,),
    )
    assert steps == [4, 5, 9, 10, 14]


def test_steps_per_call_do_not_change_the_weights(windows):
    results = []
    for calls in (1, 3):
        model = language_model()
        model.fit(*windows, batch_size=16, epochs=2, verbose=0, shuffle=False, steps_per_call=calls)
        results.append(model.network.get_weights())
    assert all((a == b).all() for a, b in zip(*results, strict=True))


def test_datasets_of_unknown_length_and_uneven_batches(windows):
    dataset = tf.data.Dataset.from_tensor_slices(windows).batch(20)
    unknown = dataset.filter(lambda *_: True)
    results = []
    for data in (dataset, unknown):
        model = language_model()
        history = model.fit(data, epochs=2, verbose=0)
        results.append(history.history["loss"])
    assert results[0] == results[1]


def test_model_with_its_network_survives_saving(windows, tmp_path):
    model = language_model()
    model.fit(*windows, batch_size=16, verbose=0)
    model.save(tmp_path / "whole.keras")
    again = keras.saving.load_model(tmp_path / "whole.keras", compile=False)
    np.testing.assert_array_equal(again(windows[0]).numpy(), model(windows[0]).numpy())


def test_what_keras_compile_takes_and_we_do_not_is_named():
    model = LanguageModel(models.build_network(CONFIGS["transformer"]))
    with pytest.raises(ConfigError, match="compile does not take run_eagerly"):
        model.compile("adam", run_eagerly=True)
    with pytest.raises(ConfigError, match="call compile"):
        model.fit(np.zeros((4, 3)), np.zeros((4, 3)))


def test_a_dataset_of_the_right_shape_is_taken_as_it_is(windows):
    dataset = tf.data.Dataset.from_tensor_slices(windows).batch(16, drop_remainder=True)
    assert as_batches(dataset) is dataset


def test_batches_are_padded_with_weight_zero():
    ids = np.arange(10).reshape(5, 2)
    batches = list(as_batches(ids, ids + 1, batch_size=3).as_numpy_iterator())
    assert [x.tolist() for x in batches[0]] == [
        [[0, 1], [2, 3], [4, 5]],
        [[1, 2], [3, 4], [5, 6]],
        [[1, 1]] * 3,
    ]
    assert [x.tolist() for x in batches[1]] == [
        [[6, 7], [8, 9], [0, 0]],
        [[7, 8], [9, 10], [0, 0]],
        [[1, 1], [1, 1], [0, 0]],
    ]
    assert [x.dtype.name for x in batches[1]] == ["int32", "int32", "float32"]


@pytest.mark.parametrize(
    "x,y,error,message",
    [
        (np.zeros((4, 3)), None, ConfigError, "needs targets"),
        (np.zeros((4, 3)), np.zeros((4, 2)), DataError, r"received \(4, 3\) and \(4, 2\)"),
        (np.zeros(4), np.zeros(4), DataError, r"must be \(N, T\)"),
        (
            tf.data.Dataset.from_tensor_slices(np.zeros((4, 3, 2))),
            None,
            DataError,
            r"must give \(ids, targets\)",
        ),
    ],
)
def test_unfit_data_is_refused(x, y, error, message):
    with pytest.raises(error, match=message):
        as_batches(x, y)


def test_batches_that_cannot_be_cut_are_refused(windows):
    with pytest.raises(
        ConfigError, match=r"20 is not divisible by replicas x micro_batches = 2 x 4 = 8; 16 or 24"
    ):
        check_divisible(20, 2, 4)
    with strategy("mirrored").scope():
        model = language_model()
    with pytest.raises(ConfigError, match="15 is not divisible"):
        model.fit(*windows, batch_size=15, verbose=0)


def test_an_endless_dataset_needs_steps(windows):
    dataset = tf.data.Dataset.from_tensor_slices(windows).batch(16).repeat()
    with pytest.raises(ConfigError, match="steps_per_epoch"):
        language_model().fit(dataset, verbose=0)


def test_history_is_plain_numbers(windows):
    history = language_model().fit(*windows, batch_size=16, verbose=0)
    assert json.loads(json.dumps(history.history)) == history.history
