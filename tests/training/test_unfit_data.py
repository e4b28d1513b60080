"""Data that do not fit a model's losses or inputs are refused by one line, which says what would be right."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tfscale.errors import DataError

ROWS = 8
X = np.linspace(0, 1, 4 * ROWS, dtype="float32").reshape(ROWS, 4)
LABELS, NUMBERS = np.arange(ROWS) % 3, X[:, :2]


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def one():
    inputs = keras.Input((4,))
    model = tfscale.Model(keras.Model(inputs, keras.layers.Dense(3)(inputs)))
    model.compile("sgd", crossentropy())
    return model


@pytest.fixture(scope="module")
def two():
    inputs = keras.Input((4,))
    outputs = {"label": keras.layers.Dense(3, name="label")(inputs)}
    outputs["number"] = keras.layers.Dense(2, name="number")(inputs)
    model = tfscale.Model(keras.Model(inputs, outputs))
    model.compile("sgd", {"label": crossentropy(), "number": "mse"})
    return model


def refused(call, *arguments, **named):
    with pytest.raises(DataError) as error:
        call(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_no_targets(one, name):
    assert refused(getattr(one, name), X).startswith(
        "the data have no targets, and loss 'sparse_categorical_crossentropy' compares outputs with them: give y"
    )


def test_no_targets_in_a_dataset_or_in_the_validation(one):
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(4)
    assert "the data have no targets" in refused(one.fit, dataset, shuffle=False)
    options = {"validation_data": (X,), "verbose": 0}
    assert "the data have no targets" in refused(one.fit, X, LABELS, **options)


def test_one_of_two_targets(two):
    message = "there are no targets 'number' for the loss of that output: y has the keys 'label'"
    assert refused(two.fit, X, {"label": LABELS}, verbose=0) == message
    none = {"label": LABELS, "number": None}
    assert "the data have None as the target of an output" in refused(two.train_on_batch, X, none)


def test_an_output_without_a_loss_needs_no_target(two):
    model = tfscale.Model(two.network)
    model.compile("sgd", {"label": crossentropy(), "number": None}, metrics={"label": ["accuracy"]})
    for targets in ({"label": LABELS, "number": None}, {"label": LABELS, "number": NUMBERS}):
        assert np.isfinite(model.test_on_batch(X, targets)[0])


def test_weights_for_one_of_two_outputs(two):
    targets = {"label": LABELS, "number": NUMBERS}
    weights = {"label": np.ones(ROWS)}
    assert refused(two.fit, X, targets, sample_weight=weights, verbose=0).startswith(
        "sample_weight and y differ in structure: give one array for each output that y has"
    )
    weights["number"] = np.ones(ROWS)
    assert np.isfinite(two.fit(X, targets, sample_weight=weights, verbose=0).history["loss"][0])


def test_lists_of_numbers(one):
    assert "no batches can be made of x (list) and y" in refused(one.fit, X.tolist(), LABELS)
    message = refused(one.evaluate, X, LABELS.tolist())
    assert "no batches can be made of x (numpy.ndarray) and y" in message


def test_inputs_of_another_width_have_the_words_of_the_model_within(one):
    with pytest.raises(ValueError, match="expected shape") as error:
        one.fit(X[:, :3], LABELS, verbose=0)
    assert "\n" not in str(error.value)


def test_a_loss_of_layers_needs_no_targets():
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(3, activity_regularizer=keras.regularizers.L2(0.1))(inputs)
    network = keras.Model(inputs, outputs)
    model = tfscale.Model(network)
    model.compile("sgd", loss=None)
    # The regularizer's mean over the rows, before the first step.
    by_hand = 0.1 * np.sum(network.predict(X, verbose=0) ** 2) / ROWS
    assert model.fit(X, batch_size=ROWS, verbose=0).history["loss"][0] == pytest.approx(by_hand)


def test_an_own_compute_loss_needs_no_targets():
    class Reconstructs(tfscale.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return tf.reduce_mean(tf.square(y_pred - x))

    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model = Reconstructs(network)
    model.compile("sgd", loss="mse")
    by_hand = np.mean((network.predict(X, verbose=0) - X) ** 2)
    assert model.train_on_batch(X) == pytest.approx(by_hand, rel=1e-5)
