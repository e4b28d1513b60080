"""Losses and metrics of one's own on replicas and in micro-batches: stock Keras's, or refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tfscale.errors import ConfigError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(25, 6)).astype("float32")
Y = RNG.normal(size=(25, 3)).astype("float32")
OPTIONS = {"batch_size": 8, "shuffle": False, "verbose": 0}
ops, layers = keras.ops, keras.layers


class Largest(keras.metrics.Metric):
    """The largest error: no sum, no mean."""

    def __init__(self):
        super().__init__(name="largest")
        self.value = self.add_variable((), "zeros", name="value")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value.assign(ops.maximum(self.value, ops.max(ops.abs(y_true - y_pred))))

    def result(self):
        return self.value + 0.0


class Near(keras.metrics.Metric):
    """The part of errors below a half: two sums."""

    def __init__(self, name="near"):
        super().__init__(name=name)
        self.hits = self.add_variable((3,), "zeros", dtype="int32", name="hits")
        self.rows = self.add_variable((), "zeros", name="rows")

    def update_state(self, y_true, y_pred, sample_weight=None):
        near = ops.cast(ops.abs(y_true - y_pred) < 0.5, "int32")
        self.hits.assign_add(ops.sum(near, 0))
        self.rows.assign_add(ops.cast(ops.shape(y_true)[0], "float32"))

    def result(self):
        return ops.mean(ops.cast(self.hits, "float32")) / ops.maximum(self.rows, 1)


class OfBatches(Near):
    """A mean of the batches' means, whose count of batches is an integer."""

    def __init__(self):
        super().__init__("of_batches")
        self.batches = self.add_variable((), "zeros", dtype="int32", name="batches")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.rows.assign_add(ops.mean(ops.abs(y_true - y_pred)))
        self.batches.assign_add(1)

    def result(self):
        return self.rows / ops.maximum(ops.cast(self.batches, "float32"), 1)


class Fading(Near):
    """A sum that fades: its parts add up from zero, and from no other value."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.rows.assign(0.5 * self.rows + ops.sum(ops.abs(y_true - y_pred)))


class Above(Near):
    """Counts outputs above a limit that is a variable, and which `reset_state` leaves alone."""

    def __init__(self):
        super().__init__("above")
        self.limit = self.add_variable((), keras.initializers.Constant(-0.3), name="limit")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.hits.assign_add(ops.sum(ops.cast(y_pred > self.limit, "int32"), 0))
        self.rows.assign_add(ops.cast(ops.shape(y_true)[0], "float32"))

    def reset_state(self):
        self.hits.assign(ops.zeros((3,), "int32"))
        self.rows.assign(0.0)


class Active(layers.Layer):
    """Adds the mean of its activations to the loss and their sum by rows, and counts a mean."""

    def __init__(self, **options):
        super().__init__(**options)
        self.mean = keras.metrics.Mean(name="activity")

    def call(self, x):
        self.add_loss(0.3 * ops.mean(ops.square(x)))
        self.add_loss(0.01 * ops.sum(x, -1))
        self.mean.update_state(ops.mean(x))
        return x


class Sampled(layers.Layer):
    """Draws around its inputs, always, and adds a divergence to the loss, as in a VAE."""

    def __init__(self, scale=0.0):
        super().__init__()
        self.draws, self.scale = keras.random.SeedGenerator(3), scale

    def call(self, x):
        self.add_loss(0.1 * ops.mean(ops.square(x)))
        return x + self.scale * keras.random.normal(ops.shape(x), seed=self.draws)


class PerBatch(layers.Layer):
    """Adds the largest activation to the loss."""

    def call(self, x):
        self.add_loss(ops.max(x))
        return x


class Centred(layers.Layer):
    """Subtracts the mean over the rows."""

    def call(self, x):
        return x - ops.mean(x, 0, keepdims=True)


class Penalized:
    """Adds a penalty to the loss and counts it in a metric of its own."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.own = keras.metrics.Mean(name="own")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        penalty = 0.1 * ops.mean(ops.square(y_pred))
        self.own.update_state(penalty)
        return loss + penalty


class WithSums:
    """Counts a sum beside the metrics of `compile`."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.total = keras.metrics.Sum(name="total")

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.total.update_state(y_pred)
        super().compute_metrics(x, y, y_pred, sample_weight)
        return self.get_metrics_result()


class WithLargest:
    """Logs a number of the batch."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "most": ops.max(y_pred)}


def mean_error(y_true, y_pred):
    return ops.mean(ops.square(y_true - y_pred))


def summed_error(y_true, y_pred):
    return ops.sum(ops.square(y_true - y_pred)) / 20


def error_of_rows(y_true, y_pred):
    return ops.log(1 + ops.mean(ops.square(y_true - y_pred), -1))


def error_of_some(y_true, y_pred):
    return tf.boolean_mask(tf.square(y_true - y_pred), y_true > 0)


def contrastive(y_true, y_pred):
    """Row i of the outputs belongs to row i of the targets, among all rows."""
    scores = ops.matmul(y_pred, ops.transpose(y_true))
    rows = ops.arange(ops.shape(scores)[0])
    return keras.losses.sparse_categorical_crossentropy(rows, scores, from_logits=True)


def centred_error(y_true, y_pred):
    return ops.mean(ops.square(y_true - ops.mean(y_true, 0) - y_pred), -1)


def network(*between, **options):
    keras.utils.set_random_seed(1)
    hidden = layers.Dense(8, "relu", **options)
    return keras.Sequential([keras.Input((6,)), hidden, *between, layers.Dense(3)])


def model_of(make, base, overrides, **options):
    net = make()
    if not overrides:
        model = base(net)
    elif base is tfscale.Model:
        model = type("Own", (overrides, base), {})(net)
    else:
        model = type("Own", (overrides, keras.Model), {})(net.inputs, net.outputs)
    made = {name: [one() for one in options.pop(name, ())] for name in ("metrics",)}
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False, **made, **options)
    return model


def same(net):
    return net


def results(model, sample_weight=None):
    """Losses and metrics of two epochs of 8, 8, 8 and 1 rows and of an evaluation; the weights."""
    logs = model.fit(X, Y, epochs=2, sample_weight=sample_weight, **OPTIONS).history
    tested = model.evaluate(X, Y, batch_size=8, verbose=0, return_dict=True)
    return {**logs, "tested": tested, "weights": model.get_weights()[:4]}


def check_everywhere(make=network, overrides=None, sample_weight=None, apart=False, **options):
    """Two replicas with micro-batches, or each of the two `apart`, give what stock Keras gives on one device."""
    wanted = results(model_of(make, same, overrides, **options), sample_weight)

    def check(micro_batches):
        model = model_of(make, tfscale.Model, overrides, micro_batches=micro_batches, **options)
        found = results(model, sample_weight)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            pairs = zip(keras.tree.flatten(found[name]), keras.tree.flatten(value), strict=True)
            for one, other in pairs:
                np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5, err_msg=name)

    if apart:
        check(2)
    with tfscale.strategy("mirrored").scope():
        check(1 if apart else 2)


def refuse(message, make=network, overrides=None, sample_weight=None, **options):
    model = model_of(make, tfscale.Model, overrides, micro_batches=2, **options)
    before = model.get_weights()
    with pytest.raises(ConfigError, match=message) as error:
        model.fit(X, Y, sample_weight=sample_weight, **OPTIONS)
    assert "\n" not in str(error.value)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_one_number_that_is_a_mean_and_metrics_of_all_kinds():
    # Keras averages a function's one number over batches alike, whatever their rows.
    counted = [lambda: mean_error, lambda: summed_error, lambda: error_of_rows, Near, OfBatches]
    check_everywhere(loss=mean_error, metrics=counted)


@pytest.mark.slow
def test_one_number_that_is_a_sum():
    check_everywhere(loss=summed_error, apart=True)


@pytest.mark.slow
def test_values_of_rows_with_weights():
    check_everywhere(loss=error_of_rows, sample_weight=RNG.random(25).astype("float32"))


@pytest.mark.slow
def test_values_of_some_rows_alone():
    check_everywhere(loss=error_of_some)


@pytest.mark.slow
def test_numbers_that_layers_add():
    make = lambda: network(Active(), activity_regularizer="l2", kernel_regularizer="l2")  # noqa: E731
    check_everywhere(make, loss="mse")


@pytest.mark.slow
def test_numbers_that_layers_add_beside_draws_and_dropout():
    # With draws of size 0 the answer is that of one device; with others nothing is refused.
    check_everywhere(lambda: network(Sampled()), loss=mean_error)
    make = lambda: network(layers.Dropout(0.5), Sampled(1.0))  # noqa: E731
    model = model_of(make, tfscale.Model, None, loss=mean_error, micro_batches=2)
    assert np.isfinite(results(model)["loss"]).all()


@pytest.mark.slow
def test_data_with_weights_in_some_calls_and_none_in_others():
    model = model_of(network, tfscale.Model, None, loss=error_of_rows, micro_batches=2)
    plain = model_of(network, same, None, loss=error_of_rows)
    batches = tf.data.Dataset.from_tensor_slices((X[:24], Y[:24])).batch(8)
    for one in (model, plain):
        one.fit(X, Y, sample_weight=X[:, 0] ** 2, **OPTIONS)
        one.fit(batches, **{**OPTIONS, "batch_size": None})
        one.train_on_batch(X[:7], Y[:7])
        unweighted = (batch for batch in [(X[:8], Y[:8], None), (X[8:15], Y[8:15], None)])
        one.fit(unweighted, steps_per_epoch=2, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_an_overridden_compute_loss():
    make = lambda: network(kernel_regularizer="l2")  # noqa: E731
    check_everywhere(make, Penalized, loss="mse", metrics=[lambda: "mae"])


@pytest.mark.slow
def test_an_overridden_compute_metrics_that_counts():
    check_everywhere(overrides=WithSums, loss="mse")


@pytest.mark.parametrize("loss", [contrastive, centred_error])
def test_values_of_rows_that_look_at_other_rows_are_refused(loss):
    refuse(f"loss '{loss.__name__}' is .* for 6 rows, and .* counts otherwise beside", loss=loss)


def test_one_number_that_weights_would_weigh_anew_is_refused():
    refuse("sample weights would weigh it anew", loss=mean_error, sample_weight=np.ones(25))


def test_one_number_that_is_neither_is_refused():
    refuse("neither their mean nor their sum", loss=lambda y, p: ops.max(ops.abs(y - p)))


def test_a_loss_that_is_zero_is_refused():
    refuse("is 0 or not finite for the rows", loss=lambda y, p: 0.0 * ops.sum(p))


def test_a_largest_activation_in_the_loss_is_refused():
    refuse("number 1 that layers give to add_loss", lambda: network(PerBatch()), loss="mse")


def test_a_network_that_mixes_rows_is_refused():
    refuse("change with the other rows", lambda: network(Centred()), loss="mse")


@pytest.mark.parametrize(
    "metric, message",
    [
        (Largest, "'value' of metric 'largest' changes by another number"),
        (Fading, "where it has counted before"),
        (Above, "^'limit' of metric 'above' holds a constant, and replicas"),
    ],
)
def test_metrics_that_are_no_sums_are_refused(metric, message):
    refuse(message, loss="mse", metrics=[metric])


def test_a_log_of_one_batch_is_refused():
    refuse("compute_metrics, whose log 'most'", overrides=WithLargest, loss="mse")


def test_too_few_rows_to_see_are_refused():
    model = model_of(network, tfscale.Model, None, loss=mean_error, micro_batches=2)
    with pytest.raises(ConfigError, match="needs 3 rows or more and has 2"):
        model.fit(X[:2], Y[:2], **OPTIONS)
