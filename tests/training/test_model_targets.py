"""What `Model` says of targets that are missing and of weights that are not those of the targets."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tests.conformance import samples
from tfscale.errors import ConfigError, DataError

LOSSES = ["mse", "sparse_categorical_crossentropy"]


def compiled(network, loss, replicas=1, **options):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]) if replicas > 1 else None
    keras.utils.set_random_seed(1)
    with (strategy or tf.distribute.get_strategy()).scope():
        model = tfscale.Model(network())
        model.compile("sgd", loss=loss, **options)
    return model


def batches(*parts):
    return tf.data.Dataset.from_tensor_slices(parts).batch(8)


@pytest.mark.parametrize("replicas", [1, 2])
def test_targets_that_a_loss_needs_and_do_not_come_are_named(replicas):
    x, y = samples.regression()
    model = compiled(samples.dense, "mse", replicas)
    before = model.get_weights()
    for call in (
        lambda: model.fit(x, verbose=0),
        lambda: model.fit(batches(x), shuffle=False, verbose=0),
        lambda: model.evaluate(x, verbose=0),
        lambda: model.train_on_batch(x),
        lambda: model.test_on_batch(x),
    ):
        with pytest.raises(DataError, match="^the data have no targets, and "):
            call()
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_metric_that_needs_targets_is_named_and_one_of_outputs_alone_does_without():
    x, _ = samples.regression()

    class Squares(keras.layers.Layer):
        def call(self, inputs):
            self.add_loss(keras.ops.mean(inputs**2))
            return inputs

    class OfOutputs(keras.metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            return super().update_state(y_pred)

    def network():
        return keras.Sequential([keras.Input((samples.WIDTH,)), Squares(), keras.layers.Dense(1)])

    with pytest.raises(DataError, match="and metric 'accuracy' compares"):
        compiled(network, None, metrics=["accuracy"]).fit(x, verbose=0)
    model = compiled(network, None, metrics=[OfOutputs(name="mean")])
    expected = float(np.mean(model.predict(x, verbose=0)))
    assert model.evaluate(x, verbose=0, return_dict=True)["mean"] == pytest.approx(expected, 1e-5)


def test_a_loss_that_overrides_call_is_taken_on_one_device_and_refused_on_two():
    class Outputs(keras.losses.Loss):
        def __call__(self, y_true, y_pred, sample_weight=None):
            return keras.ops.mean(y_pred)

    x, y = samples.regression()
    model = compiled(samples.dense, Outputs(name="outputs"))
    expected = float(np.mean(model.predict(x, verbose=0)))
    assert model.evaluate(x, y, batch_size=len(x), verbose=0) == pytest.approx(expected, 1e-5)
    with pytest.raises(ConfigError, match="^loss 'outputs' overrides __call__, of which"):
        compiled(samples.dense, Outputs(name="outputs"), 2).fit(x, y, verbose=0)


@pytest.mark.parametrize(
    "given, message",
    [
        (
            lambda w: {"value": w},
            "sample_weight is a dict of 'value', and the targets are a dict of 'kind', 'value': .*"
            r"such as sample_weight={'kind': None, 'value': w}$",
        ),
        (lambda w: {"value": w, "other": w}, r"is a dict of 'value', and the targets are"),
        (lambda w: [w, w], r"is a list of 2, and .*={'kind': w, 'value': w}$"),
    ],
)
def test_weights_by_other_names_than_the_targets(given, message):
    x, y = samples.two_targets()
    weights = given(samples.weights_of())
    model = compiled(samples.two_outputs, samples.TWO_LOSSES)
    for call in (
        lambda: model.train_on_batch(x, y, sample_weight=weights),
        lambda: model.fit(
            batches(x, y, tuple(weights) if type(weights) is list else weights), shuffle=False
        ),
    ):
        with pytest.raises(DataError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_of_a_dataset_weights_by_the_names_that_are_needed_are_taken():
    x, y = samples.two_targets()
    ones, weights = np.ones(len(x), "float32"), samples.weights_of()
    model = compiled(samples.two_outputs, samples.TWO_LOSSES, weighted_metrics={"value": ["mae"]})
    error = np.abs(model.predict(x, verbose=0)["value"] - y["value"]).mean(-1)
    expected = (error * weights).sum() / weights.sum()
    data = batches(x, y, {"a": 0.1 * ones, "kind": ones, "value": weights})
    found = model.evaluate(data, verbose=0, return_dict=True)["value_mae"]
    assert found == pytest.approx(expected, 1e-5)
    one = compiled(samples.two_outputs, {"value": "mae", "kind": None})
    found = one.evaluate(batches(x, y, {"value": weights}), verbose=0)
    assert found == pytest.approx((error * weights).mean(), 1e-5)


def test_weights_that_do_not_fit_a_list_of_outputs_or_one_output():
    x, y = samples.two_targets()
    weights = samples.weights_of()
    model = compiled(lambda: samples.two_outputs(False), LOSSES)
    targets = [y["value"], y["kind"]]
    with pytest.raises(
        DataError, match=r"a list of 1, and .* list of 2: .*sample_weight=\[w, None\]"
    ):
        model.train_on_batch(x, targets, sample_weight=[weights])
    with pytest.raises(DataError, match="outputs are a list of 2: give targets and weights as"):
        model.fit(x, y, sample_weight={"value": weights, "kind": weights}, verbose=0)
    one = compiled(samples.dense, "mse")
    with pytest.raises(DataError, match="a dict of 'a', and the targets are one array"):
        one.fit(x, y["value"], sample_weight={"a": weights}, verbose=0)
    assert np.isfinite(model.train_on_batch(x, targets, sample_weight=[weights, None])[0])
