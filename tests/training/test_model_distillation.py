"""`tfscale.compress.distill` on a `tfscale.Model`, beside a train step written by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tfscale.errors import ConfigError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(25, 5, 6)).astype("float32")
Y = RNG.integers(0, 3, (25, 5))
WEIGHTS = RNG.random((25, 5)).astype("float32")
layers = keras.layers


def network(seed, activation=None, classes=3):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((5, 6)), layers.Dense(8, "relu"), layers.Dense(classes, activation)]
    )


def own_loss(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)


def student_of(net, teacher, loss="sparse_categorical_crossentropy", from_logits=None, **options):
    model = tfscale.Model(net)
    tfscale.compress.distill(model, teacher, weight=0.3, temperature=2.0, from_logits=from_logits)
    model.compile(keras.optimizers.SGD(0.5), loss, xla=False, **options)
    return model


def by_hand(student, teacher, from_logits):
    """Losses and weights of an epoch of 8, 8, 8 and 1 rows; T = 2, a = 0.3."""
    losses, batches = [], [slice(0, 8), slice(8, 16), slice(16, 24), slice(24, 25)]
    for rows in batches:
        with tf.GradientTape() as tape:
            outputs, taught = student(X[rows]), teacher(X[rows])
            if not from_logits:
                outputs, taught = tf.math.log(outputs), tf.math.log(taught)
            cross = -tf.gather(tf.nn.log_softmax(outputs), Y[rows], batch_dims=2)
            p, q = tf.nn.softmax(taught / 2), tf.nn.softmax(outputs / 2)
            divergence = tf.reduce_sum(p * tf.math.log(p / q), -1)
            values = WEIGHTS[rows] * (0.7 * cross + 0.3 * 4 * divergence)
            loss = tf.reduce_sum(values) / tf.cast(tf.size(values), tf.float32)
        variables = student.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign(variable.value - 0.5 * gradient)
        losses.append(float(loss))
    return np.average(losses, weights=[8, 8, 8, 1]), student.get_weights()


def check(wanted, from_logits, **options):
    activation = None if from_logits else "softmax"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    teacher = network(2, activation)
    before = teacher.get_weights()
    model = student_of(network(1, activation), teacher, loss, **options)
    history = model.fit(X, Y, sample_weight=WEIGHTS, batch_size=8, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], wanted[0], rtol=2e-5)
    for one, other in zip(model.network.get_weights(), wanted[1], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    for one, other in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    return model


def test_logits_on_one_device_and_on_two_in_micro_batches():
    wanted = by_hand(network(1), network(2), True)
    model = check(wanted, True)
    with tfscale.strategy("mirrored").scope():
        parted = check(wanted, True, micro_batches=2)
    # An evaluation says nothing of the teacher.
    logits = tf.nn.log_softmax(model.network(X))
    plain = -tf.reduce_mean(tf.gather(logits, Y, batch_dims=2)).numpy()
    for one in (model, parted):
        np.testing.assert_allclose(one.evaluate(X, Y, verbose=0), plain, rtol=2e-5)


@pytest.mark.slow
def test_probabilities():
    wanted = by_hand(network(1, "softmax"), network(2, "softmax"), False)
    check(wanted, False)
    check(wanted, False, micro_batches=2)


@pytest.mark.parametrize(
    "student, teacher, options, message",
    [
        (network(1), network(2, "softmax"), {"from_logits": True}, "outputs of the teacher add up"),
        (network(1), network(2), {}, "outputs of the student do not add up to 1"),
        (network(1), network(2, classes=4), {"from_logits": True}, "its teacher"),
        (network(1), network(2), {"loss": own_loss}, "give tfscale.compress.distill from_logits"),
    ],
)
def test_what_does_not_belong_together_is_refused(student, teacher, options, message):
    model = student_of(student, teacher, **options)
    with pytest.raises(ConfigError, match=message) as error:
        model.fit(X, Y, verbose=0)
    assert "\n" not in str(error.value)


def test_a_loss_of_one_value_for_several_predictions_is_refused():
    loss = lambda y, p: tf.reduce_mean((tf.cast(y, tf.float32) - p[..., 0]) ** 2, -1)  # noqa: E731
    model = student_of(network(1), network(2), loss, from_logits=True)
    with pytest.raises(ConfigError, match="one value for each prediction"):
        model.fit(X, Y, verbose=0)
