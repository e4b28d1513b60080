"""Metrics of a `LanguageModel`: those of stock Keras where nothing is padded, and no padding in them.

The reference is stock `keras.Model.fit` on one device, or a sum by NumPy.
"""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tests.training.tiny import gru_network
from tfscale.errors import ConfigError

V, T, ROWS = 16, 6, 42
STREAM = np.random.default_rng(0).integers(0, V, (ROWS, T + 1)).astype("int32")
X, Y = STREAM[:, :-1], STREAM[:, 1:]
WEIGHTS = np.tile([0.5, 1.5], ROWS // 2).astype("float32")
"""The mean over each batch of an even number of rows is 1, so that Keras's mean of means is one."""


class Batches(keras.utils.PyDataset):
    """Batches of 8 rows, in another order in each epoch."""

    def __init__(self):
        super().__init__()
        self.order = np.arange(ROWS)

    def __len__(self):
        return -(-ROWS // 8)

    def __getitem__(self, index):
        rows = self.order[8 * index : 8 * index + 8]
        return X[rows], Y[rows]

    def on_epoch_end(self):
        self.order = np.roll(self.order, 5)


def endless():
    while True:
        for start in range(0, ROWS, 8):
            yield X[start : start + 8], Y[start : start + 8]


HABITS = {
    "validation_split": lambda: {"x": X, "y": Y, "validation_split": 0.2},
    "validation_data": lambda: {"x": X, "y": Y, "validation_data": (X[:10], Y[:10])},
    "sample_weight": lambda: {"x": X, "y": Y, "sample_weight": WEIGHTS[:, None]},
    "generator": lambda: {
        "x": endless(),
        "steps_per_epoch": 6,
        "validation_data": endless(),
        "validation_steps": 2,
    },
    "py_dataset": lambda: {"x": Batches(), "validation_data": Batches()},
    "dataset": lambda: {"x": tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)},
}


def network(mask_zero=False):
    """One without a recurrent layer, which is compiled in less time."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Embedding(V, 8, mask_zero=mask_zero), keras.layers.Dense(V)]
    return keras.Sequential([keras.Input((None,), dtype="int32"), *layers])


def metrics():
    return {
        "metrics": [
            "accuracy",
            keras.metrics.SparseTopKCategoricalAccuracy(3, name="top_3"),
            keras_hub.metrics.Perplexity(from_logits=True),
        ],
        "weighted_metrics": [
            "accuracy",
            keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
        ],
    }


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def trained(model, habit):
    """History, evaluation and weights after two epochs of 8, 8, 8, 8, 8 and 2 rows."""
    data = HABITS[habit]()
    arrays = {"batch_size": 8} if "y" in data else {}
    history = model.fit(**arrays, **data, shuffle=False, epochs=2, verbose=0).history
    ours = {"learning_rate", "tokens_per_second"}
    found = {name: values for name, values in history.items() if name not in ours}
    evaluated = model.evaluate(X, Y, batch_size=8, verbose=0, return_dict=True)
    found |= {f"test {name}": value for name, value in evaluated.items() if name != "tokens"}
    return found, [weight.numpy() for weight in getattr(model, "network", model).weights]


@pytest.fixture(scope="module")
def stock():
    """What stock Keras gives on one device, for each habit, computed once."""
    found = {}

    def of(habit):
        if habit not in found:
            model = gru_network(V)
            # XLA takes longer to compile a recurrent layer than to run the few steps.
            model.compile(keras.optimizers.SGD(0.5), crossentropy(), jit_compile=False, **metrics())
            found[habit] = trained(model, habit)
        return found[habit]

    return of


def check_alike(found, wanted):
    numbers, weights = found
    assert numbers.keys() == wanted[0].keys()
    for name, value in numbers.items():
        np.testing.assert_allclose(value, wanted[0][name], atol=1e-5, rtol=1e-5, err_msg=name)
    for one, other in zip(weights, wanted[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def compiled(where="single", **options):
    with tfscale.strategy(where).scope():
        model = tfscale.LanguageModel(gru_network(V))
        model.compile(
            keras.optimizers.SGD(0.5), crossentropy(), clip_norm=0.0, **metrics(), **options
        )
    return model


QUICK = ("sample_weight",)
"""Habits whose comparison on one device `make test` makes."""


@pytest.mark.parametrize(
    "habit",
    [pytest.param(habit, marks=() if habit in QUICK else pytest.mark.slow) for habit in HABITS],
)
def test_one_device_is_stock_keras(habit, stock):
    check_alike(trained(compiled(xla=False), habit), stock(habit))


@pytest.mark.parametrize(
    "where, options, habit",
    [
        pytest.param(
            "single",
            {"xla": True, "steps_per_execution": 4},
            "validation_data",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "single", {"micro_batches": 2, "xla": False}, "sample_weight", marks=pytest.mark.slow
        ),
        pytest.param("mirrored", {"xla": False}, "validation_split", marks=pytest.mark.slow),
        pytest.param("mirrored", {"xla": False}, "py_dataset", marks=pytest.mark.slow),
        ("mirrored", {"micro_batches": 2, "xla": False}, "generator"),
    ],
)
def test_replicas_and_micro_batches_are_stock_keras(where, options, habit, stock):
    check_alike(trained(compiled(where, **options), habit), stock(habit))


def test_it_is_a_model():
    assert issubclass(tfscale.LanguageModel, tfscale.Model)


@pytest.mark.parametrize(
    "how, where, options",
    [
        ("negative targets", "single", {}),
        ("weights of 0", "single", {"micro_batches": 2}),
        ("mask", "single", {}),
        ("mask", "mirrored", {"micro_batches": 2}),
    ],
)
def test_padding_counts_in_no_metric(how, where, options):
    """Of 21 rows, the last of a batch of 8 are filled up, too."""
    kept = np.arange(T) < np.arange(21)[:, None] % 5 + 2
    x = np.where(kept, np.maximum(X[:21], 1), 0) if how == "mask" else X[:21]
    y = np.where(kept, Y[:21], -100) if how == "negative targets" else Y[:21]
    weights = np.where(kept, 0.5, 0.0) if how == "weights of 0" else None
    with tfscale.strategy(where).scope():
        model = tfscale.LanguageModel(network(mask_zero=how == "mask"))
        accuracy = {"metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
        model.compile(keras.optimizers.SGD(0.0), xla=False, **accuracy, **options)
    logits = model.network(x).numpy()
    right = (logits.argmax(-1) == Y[:21]) & kept
    wanted = right.sum() / kept.sum()
    assert 0 < right.sum() < (logits.argmax(-1) == Y[:21]).sum()
    data = {"x": x, "y": y, "sample_weight": weights, "batch_size": 8, "verbose": 0}
    logs = model.fit(**data, validation_data=(x, y, weights)[: 2 if weights is None else 3]).history
    found = model.evaluate(**data)
    assert [*logs["accuracy"], *logs["val_accuracy"], found["accuracy"]] == [
        pytest.approx(wanted, abs=1e-6)
    ] * 3
    assert found["weighted_accuracy"] == pytest.approx(wanted, abs=1e-6)


class Counted(keras.metrics.Metric):
    """Right tokens, as a whole number: adds up."""

    def __init__(self, name="right"):
        super().__init__(name=name, dtype="int32")
        self.total = self.add_variable((), "zeros", dtype="int32", name="total")

    def count(self, y_true, y_pred, sample_weight):
        right = tf.cast(tf.argmax(y_pred, -1), tf.int32) == y_true
        return tf.reduce_sum(tf.cast(right & (sample_weight > 0), tf.int32))

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(self.count(y_true, y_pred, sample_weight))

    def result(self):
        return self.total.value


class Most(Counted):
    """Right tokens of the best batch: does not add up."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        most = keras.ops.maximum(self.total, self.count(y_true, y_pred, sample_weight))
        self.total.assign(most)


class Scaled(Counted):
    """A share of a number that is a variable, and which `reset_state` leaves alone."""

    def __init__(self):
        super().__init__("scaled")
        self.share = self.add_variable((), "zeros", name="share")
        self.of = self.add_variable((), keras.initializers.Constant(4.0), name="of")

    def update_state(self, y_true, y_pred, sample_weight=None):
        right = tf.cast(self.count(y_true, y_pred, sample_weight), tf.float32)
        self.share.assign_add(right / self.of)

    def result(self):
        return self.share.value

    def reset_state(self):
        self.share.assign(0.0)


class Unweighted(Counted):
    def update_state(self, y_true, y_pred):
        super().update_state(y_true, y_pred, tf.ones(tf.shape(y_true)))


class Blind(Counted):
    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_true, y_pred, tf.ones(tf.shape(y_true)))


def each_token(y_true, y_pred):
    return tf.cast(tf.cast(tf.argmax(y_pred, -1), tf.int32) == y_true, tf.float32)


def whole_batch(y_true, y_pred):
    return tf.reduce_mean(each_token(y_true, y_pred))


def with_metric(metric, **options):
    model = tfscale.LanguageModel(network())
    model.compile(keras.optimizers.SGD(0.1), metrics=[metric], xla=False, **options)
    return model


@pytest.mark.parametrize("make, name", [(Counted, "right"), (lambda: each_token, "each_token")])
def test_metrics_of_ones_own_add_up(make, name):
    one, parts = with_metric(make()), with_metric(make(), micro_batches=2)
    logs = [model.fit(X, Y, batch_size=8, verbose=0).history[name] for model in (one, parts)]
    assert logs[0] == pytest.approx(logs[1]) and logs[0][0] > 0
    found = one.evaluate(X, Y, verbose=0)[name]
    right = each_token(Y, one.network(X)).numpy()
    assert found == pytest.approx(right.sum() if name == "right" else right.mean())


def test_one_that_does_not_add_up_is_right_on_one_device_and_refused_elsewhere():
    model = with_metric(Most())
    model.fit(X, Y, batch_size=8, verbose=0)
    of_batches = [
        each_token(Y[at : at + 8], model.network(X[at : at + 8])).numpy().sum()
        for at in range(0, ROWS, 8)
    ]
    assert model.evaluate(X, Y, batch_size=8, verbose=0)["right"] == max(of_batches)
    with pytest.raises(ConfigError, match="^metric 'right' does not add up over replicas"):
        with_metric(Most(), micro_batches=2).fit(X, Y, batch_size=8, verbose=0)


def test_a_metric_with_a_constant_is_right_on_one_device_and_refused_elsewhere():
    model = with_metric(Scaled())
    model.fit(X, Y, batch_size=8, verbose=0)
    right = each_token(Y, model.network(X)).numpy().sum()
    assert model.evaluate(X, Y, verbose=0)["scaled"] == pytest.approx(right / 4)
    with pytest.raises(ConfigError, match="^metric 'scaled' has the variable 'of', which holds a"):
        with_metric(Scaled(), micro_batches=2).fit(X, Y, batch_size=8, verbose=0)


@pytest.mark.parametrize(
    "metric, message",
    [
        (keras_hub.metrics.Perplexity(), "'perplexity' takes probabilities.*from_logits=True"),
        (
            "sparse_categorical_crossentropy",
            "'sparse_categorical_crossentropy' takes probabilities",
        ),
        (Unweighted(), "'right' cannot leave out padding: its update_state takes no sample_weight"),
        (whole_batch, r"'whole_batch' cannot be computed .* one value a token, \(B, T\)"),
        (Blind(), "'right' counts tokens of weight 0, such as padding"),
        ("categorical_accuracy", r"cannot be computed of targets \(B, T\), logits"),
        (Counted("tokens"), "'tokens' has the name of a log of fit"),
    ],
)
def test_metrics_that_cannot_be_right_are_refused_before_the_first_step(metric, message):
    model = with_metric(metric)
    with pytest.raises(ConfigError, match=message) as caught:
        model.fit(X, Y, verbose=0)
    assert "\n" not in str(caught.value)
    assert int(model.optimizer.iterations) == 0


def test_a_metric_that_xla_cannot_compile_is_named():
    def python(y_true, y_pred):
        found = tf.numpy_function(lambda right: right, [each_token(y_true, y_pred)], tf.float32)
        return tf.ensure_shape(found, y_true.shape)

    model = tfscale.LanguageModel(network())
    model.compile(keras.optimizers.SGD(0.1), metrics=[python], xla=True)
    with pytest.raises(
        ConfigError, match=r"^metric 'python' cannot be compiled by XLA .*xla=False"
    ):
        model.fit(X, Y, verbose=0)


def test_metrics_need_whole_logits():
    network = tfscale.build_network(tfscale.LSTMConfig(vocabulary_size=V, sequence_length=T))
    with pytest.raises(ConfigError, match="metrics look at whole logits.*loss_chunk_tokens=8"):
        tfscale.LanguageModel(network).compile("sgd", metrics=["accuracy"], loss_chunk_tokens=8)


def test_a_file_keeps_the_metrics(tmp_path):
    model = with_metric("accuracy", steps_per_execution=3)
    model.fit(X, Y, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.steps_per_execution == 3
    assert again.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    again.compile("sgd")
    assert "accuracy" not in again.evaluate(X, Y, verbose=0)
