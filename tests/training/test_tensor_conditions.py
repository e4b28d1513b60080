"""A Python `if` on a tensor: refused in one line where a step is compiled, right where all is
eager."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale

STEPS, PEAK, LATER = 3, 0.1, 0.01
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(16, 3)).astype("float32")
Y = X.sum(1, keepdims=True)
IDS = RANDOM.integers(0, 9, (16, 5))
TARGETS = RANDOM.integers(0, 9, (16, 5))


class Dropping(keras.optimizers.schedules.LearningRateSchedule):
    """PEAK for some steps, then LATER."""

    def __call__(self, step):
        if step < STEPS:
            return PEAK
        return LATER

    def get_config(self):
        return {}


class ByCond(Dropping):
    """The same by `tf.cond`."""

    def __call__(self, step):
        return tf.cond(step < STEPS, lambda: PEAK, lambda: LATER)


class ByWhere(Dropping):
    """The same by `ops.where`."""

    def __call__(self, step):
        return keras.ops.where(step < STEPS, PEAK, LATER)


class Penalty(keras.regularizers.Regularizer):
    """A tenth of the sum of squares, if there is any."""

    def __call__(self, x):
        total = keras.ops.sum(x * x)
        if total > 0:
            return 0.1 * total
        return 0.0


class Smaller(keras.constraints.Constraint):
    """Makes weights smaller while one of them is large."""

    def __call__(self, w):
        if keras.ops.max(w) > 0.1:
            return 0.9 * w
        return w


class Differences(keras.metrics.Mean):
    """The mean difference, or the mean target."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        values = y_true
        if keras.ops.max(y_pred) > 0:
            values = y_true - y_pred
        super().update_state(values)


def error_of(y_true, y_pred):
    """Returns squares, or absolute differences."""
    if keras.ops.max(y_pred) > 0:
        return keras.ops.square(y_true - y_pred)
    return keras.ops.abs(y_true - y_pred)


class Sign(keras.layers.Layer):
    """Doubles what has a large sum."""

    def call(self, inputs):
        if keras.ops.sum(inputs) > 0:
            return 2.0 * inputs
        return inputs


class Doubling(keras.Model):
    """A network with a Python condition in its layer."""

    def __init__(self):
        super().__init__()
        self.sign, self.dense = Sign(name="sign"), keras.layers.Dense(1)

    def call(self, inputs):
        return self.dense(self.sign(inputs))


def parts(kind: str) -> dict:
    """Returns what a model is made of that has a condition of a kind."""
    return {
        "rate": Dropping() if kind == "schedule" else PEAK,
        "regularizer": Penalty() if kind == "regularizer" else None,
        "constraint": Smaller() if kind == "constraint" else None,
        "loss": error_of if kind == "loss" else "mse",
        "metrics": {"metric": [Differences("differences")], "function": [error_of]}.get(kind, []),
    }


def trained(wrap, kind: str, **options) -> tuple[dict, list[np.ndarray], float]:
    """Returns history, weights and learning rate after two epochs of 4 steps."""
    given = parts(kind)
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense(
        1, kernel_regularizer=given["regularizer"], kernel_constraint=given["constraint"]
    )
    network = Doubling() if kind == "layer" else keras.Sequential([keras.Input((3,)), dense])
    model = wrap(network)
    rate = options.pop("rate", given["rate"])
    optimizer = keras.optimizers.SGD(rate)
    model.compile(optimizer, loss=given["loss"], metrics=given["metrics"], **options)
    fitted = model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    return fitted, network.get_weights(), float(optimizer.learning_rate)


LINES = {
    "schedule": "schedule 'Dropping': its __call__",
    "regularizer": "regularizer 'Penalty': its __call__",
    "constraint": "constraint 'Smaller': its __call__",
    "loss": "loss 'error_of': its error_of",
    "metric": "metric 'differences': its update_state",
    "function": "metric 'error_of': its error_of",
    "layer": "layer 'sign': its call",
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("options", [{"xla": True}, {"xla": False}], ids=str)
def test_model_refuses_a_condition_in_one_line(kind, options):
    with pytest.raises(tfscale.ConfigError, match=re.escape(LINES[kind])) as caught:
        trained(tfscale.Model, kind, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert line.endswith("which a compiled step cannot; choose by keras.ops.where or tf.cond")
    assert "`if " in line


@pytest.mark.parametrize("kind", ["schedule", "loss", "constraint"])
def test_replicas_and_micro_batches_refuse_it_in_the_same_line(kind):
    with (
        tfscale.strategy("mirrored").scope(),
        pytest.raises(tfscale.ConfigError, match=re.escape(LINES[kind])) as caught,
    ):
        trained(tfscale.Model, kind, micro_batches=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", LINES)
def test_model_that_runs_eagerly_gives_what_keras_gives(kind):
    ours = trained(tfscale.Model, kind, run_eagerly=True)
    stock = trained(lambda network: network, kind, run_eagerly=True)
    for name, values in stock[0].items():
        np.testing.assert_allclose(ours[0][name], values, rtol=1e-5)
    for mine, theirs in zip(ours[1], stock[1], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)
    assert ours[2] == pytest.approx(stock[2])


@pytest.mark.parametrize("schedule", [ByCond, ByWhere])
@pytest.mark.parametrize("xla", [True, False])
def test_schedules_that_choose_by_tensors_give_what_keras_gives_eagerly(schedule, xla):
    _, weights, rate = trained(tfscale.Model, "", xla=xla, rate=schedule())
    _, eager, _ = trained(lambda network: network, "schedule", run_eagerly=True)
    assert rate == pytest.approx(LATER)
    for mine, theirs in zip(weights, eager, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)


def language_model(kind: str, rate=None, **options) -> tfscale.LanguageModel:
    given = parts(kind)
    keras.utils.set_random_seed(1)
    ids = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(9, 4)(ids)
    logits = keras.layers.Dense(
        9, kernel_regularizer=given["regularizer"], kernel_constraint=given["constraint"]
    )(hidden)
    model = tfscale.LanguageModel(keras.Model(ids, logits))
    metrics = [token_error] if kind == "function" else None
    model.compile(keras.optimizers.SGD(rate or given["rate"]), metrics=metrics, **options)
    return model


def token_error(y_true, y_pred):
    """Returns a number of each token."""
    if keras.ops.max(y_pred) > 0:
        return y_pred[..., 0]
    return y_pred[..., 1]


@pytest.mark.parametrize("kind", ["schedule", "regularizer", "constraint", "function"])
@pytest.mark.parametrize("options", [{"xla": True}, {"xla": False}, {"micro_batches": 2}], ids=str)
def test_language_model_refuses_a_condition_in_one_line(kind, options):
    model = language_model(kind, **options)
    before = model.network.get_weights()
    line = LINES[kind].replace("error_of", "token_error")
    with pytest.raises(tfscale.ConfigError, match=re.escape(line)) as caught:
        model.fit(IDS, TARGETS, batch_size=4, verbose=0)
    assert "\n" not in str(caught.value)
    for mine, old in zip(model.network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, old)


@pytest.mark.parametrize("xla", [True, False])
def test_language_model_takes_a_schedule_that_chooses_by_tensors(xla):
    """Its weights are those of the two rates, each by itself."""
    model = language_model("", rate=ByCond(), xla=xla)
    model.fit(IDS, TARGETS, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert model.current_learning_rate() == pytest.approx(LATER)
    by_hand = language_model("", rate=PEAK, xla=xla)
    batches = [slice(start, start + 4) for start in (0, 4, 8, 12)] * 2
    for index, rows in enumerate(batches):
        by_hand.optimizer.learning_rate = PEAK if index < STEPS else LATER
        by_hand.train_on_batch(IDS[rows], TARGETS[rows])
    pairs = zip(model.network.get_weights(), by_hand.network.get_weights(), strict=True)
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)
