"""`Model` around recurrent layers that carry the states of rows from batch to batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tfscale.errors import ConfigError

T, ROWS = 3, 4
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, T, 2)).astype("float32"), RNG.normal(size=(8, 1)).astype("float32")


def compiled(devices, layer, **options):
    keras.utils.set_random_seed(2)
    with tf.distribute.MirroredStrategy(devices).scope():
        network = keras.Sequential(
            [keras.Input(batch_shape=(ROWS, T, 2)), layer(), keras.layers.Dense(1)]
        )
        model = tfscale.Model(network)
        model.compile("sgd", loss="mse", **options)
    return model


def stateful():
    return keras.layers.LSTM(3, stateful=True, name="carries")


CALLS = {
    "fit": lambda model: model.fit(X, Y, batch_size=ROWS, verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(X[:ROWS], Y[:ROWS]),
    "evaluate": lambda model: model.evaluate(X, Y, batch_size=ROWS, verbose=0),
    "predict": lambda model: model.predict(X, batch_size=ROWS, verbose=0),
    "predict_on_batch": lambda model: model.predict_on_batch(X[:ROWS]),
}
TWO = ["CPU:0", "CPU:1"]


@pytest.mark.parametrize("call", CALLS)
def test_states_of_rows_are_refused_in_a_line_on_two_replicas(call):
    model = compiled(TWO, stateful)
    with pytest.raises(ConfigError, match=r"^layer 'carries' of model .* has stateful=True") as e:
        CALLS[call](model)
    assert "\n" not in str(e.value)


def test_states_of_rows_are_refused_in_micro_batches_and_within_bidirectional():
    def both():
        return keras.layers.Bidirectional(keras.layers.GRU(3, stateful=True))

    for layer in (stateful, both):
        model = compiled(TWO[:1], layer, micro_batches=2)
        with pytest.raises(ConfigError, match="has stateful=True, and replicas and micro-batches"):
            model.fit(X, Y, batch_size=ROWS, verbose=0)


def test_predictions_of_one_device_go_on_where_the_rows_stopped():
    model = compiled(TWO[:1], stateful)
    long = RNG.normal(size=(ROWS, 2 * T, 2)).astype("float32")
    lstm, dense = model.network.layers
    plain = keras.layers.LSTM(3)
    plain.build((None, 2 * T, 2))
    plain.set_weights(lstm.get_weights()[:3])
    model.predict_on_batch(long[:, :T])
    np.testing.assert_allclose(model.predict_on_batch(long[:, T:]), dense(plain(long)), atol=1e-6)
    lstm.reset_state()
    expected = dense(plain(long[:, :T]))
    np.testing.assert_allclose(model.predict_on_batch(long[:, :T]), expected, atol=1e-6)


def test_rounded_weights_ask_for_a_model_that_is_built():
    network = keras.Sequential([keras.layers.Dense(2)], name="early")
    with pytest.raises(ConfigError, match="^model 'early' is not built yet, and quantize_aware"):
        tfscale.compress.quantize_aware(tfscale.Model(network), "int8")
    network(X[:1, 0])
    assert tfscale.compress.quantize_aware(tfscale.Model(network), "int8")
