"""`tfscale.Model` under a strategy and in micro-batches gives what one device gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tfscale.errors import ConfigError, DataError, TrainingError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(25, 6)).astype("float32")
Y = RNG.integers(0, 3, 25)
WEIGHTS = RNG.random(25).astype("float32")


def network():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])


def two_outputs():
    """Two inputs, two outputs, one of them over time with a mask, and a regularizer."""
    keras.utils.set_random_seed(1)
    ids, numbers = keras.Input((5,), dtype="int32"), keras.Input((6,))
    hidden = keras.layers.Embedding(7, 4, mask_zero=True)(ids)
    tags = keras.layers.GRU(4, return_sequences=True, name="tags")(hidden)
    label = keras.layers.Dense(3, kernel_regularizer="l2", name="label")(numbers)
    return keras.Model([ids, numbers], [tags, label])


def compiled(net, **options):
    model = tfscale.Model(net)
    model.compile(
        keras.optimizers.Adam(0.01, global_clipnorm=0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        weighted_metrics=["accuracy"],
        xla=False,
        **options,
    )
    return model


def trained(model, x=X, y=Y, sample_weight=WEIGHTS):
    """Losses, metrics, evaluation and weights after two epochs of 8, 8, 8 and 1 rows."""
    fitted = model.fit(
        x, y, sample_weight=sample_weight, batch_size=8, epochs=2, shuffle=False, verbose=0
    ).history
    evaluated = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    weights = [weight.numpy() for weight in model.network.weights]
    return {**fitted, **{f"test {k}": v for k, v in evaluated.items()}}, weights


def check_alike(found, wanted):
    numbers, weights = found
    assert numbers.keys() == wanted[0].keys()
    for name, value in numbers.items():
        np.testing.assert_allclose(value, wanted[0][name], rtol=2e-5, err_msg=name)
    for one, other in zip(weights, wanted[1], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.fixture(scope="module")
def one_device():
    return trained(compiled(network()))


@pytest.mark.slow
def test_micro_batches(one_device):
    check_alike(trained(compiled(network(), micro_batches=2)), one_device)


@pytest.mark.parametrize("micro_batches", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_two_replicas(one_device, micro_batches):
    with tfscale.strategy("mirrored").scope():
        model = compiled(network(), micro_batches=micro_batches)
    check_alike(trained(model), one_device)
    np.testing.assert_allclose(model.predict(X, verbose=0).shape, (25, 3))


@pytest.mark.slow
def test_an_eager_step_in_parts(one_device):
    with tfscale.strategy("mirrored").scope():
        model = compiled(network(), micro_batches=2, run_eagerly=True)
    check_alike(trained(model), one_device)


@pytest.mark.slow
def test_masked_and_unmasked_outputs_have_their_own_denominators():
    ids = np.where(RNG.random((25, 5)) < 0.4, 0, RNG.integers(1, 7, (25, 5))).astype("int32")
    ids[:, 0] = 1
    data = ([ids, X], [RNG.random((25, 5, 4)).astype("float32"), Y], None)

    def run(**options):
        model = tfscale.Model(two_outputs())
        label = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss=["mse", label], loss_weights=[0.7, 1.3], xla=False, **options)
        return trained(model, *data)

    wanted = run()
    check_alike(run(micro_batches=2), wanted)
    with tfscale.strategy("mirrored").scope():
        check_alike(run(), wanted)


@pytest.mark.parametrize("name", ["single", "mirrored"])
def test_weights_that_are_not_one_for_each_value_of_a_loss_are_refused(name):
    """Three rows of three steps: Keras takes the weights of the rows for those of the steps."""
    x, wanted = X[:9].reshape(3, 3, 6), np.zeros((3, 3, 2), "float32")
    rows = np.array([1, 0, 0], "float32")
    with tfscale.strategy(name).scope():
        keras.utils.set_random_seed(1)
        model = tfscale.Model(keras.Sequential([keras.Input((3, 6)), keras.layers.Dense(2)]))
        model.compile("sgd", "mse", xla=False)
        for call in (model.train_on_batch, model.test_on_batch):
            with pytest.raises(ConfigError, match=r"^sample_weight .* \((3|None), 3\): give"):
                call(x, wanted, sample_weight=rows)
    weights = np.repeat(rows[:, None], 3, axis=1)
    loss = model.test_on_batch(x, wanted, sample_weight=weights)
    first = model.network(x[:1]).numpy()
    np.testing.assert_allclose(loss, np.sum(np.mean(first**2, -1)) / 9, rtol=1e-5)


def batch_normalized(**options):
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return keras.Sequential(
        [layers.Dense(4, use_bias=False), layers.BatchNormalization(**options), layers.Dense(3)]
    )


def test_batch_normalization_is_refused_unless_it_is_synchronized():
    with tfscale.strategy("mirrored").scope():
        model = compiled(batch_normalized())
        with pytest.raises(ConfigError, match="synchronized=True"):
            trained(model)
        model = compiled(batch_normalized(synchronized=True))
        parted = compiled(batch_normalized(synchronized=True), micro_batches=2)
        with pytest.raises(ConfigError, match="not over micro-batches"):
            trained(parted)
    even = X[:24], Y[:24], WEIGHTS[:24]
    check_alike(trained(model, *even), trained(compiled(batch_normalized()), *even))


def test_a_loss_that_is_not_reduced_is_refused_in_parts():
    model = tfscale.Model(keras.Sequential([keras.layers.Dense(1)]))
    loss = keras.losses.MeanSquaredError(reduction=None)
    model.compile("sgd", loss, micro_batches=2, xla=False)
    with pytest.raises(ConfigError, match="reduction=None"):
        model.fit(X, Y.astype("float32"), verbose=0)


@pytest.mark.parametrize("shape", [(1, 6), ()])
def test_a_tensor_without_a_row_for_each_row_is_refused_in_parts(shape):
    class Shifted(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(3)

        def call(self, inputs):
            return self.head(inputs["numbers"] + inputs["shift"])

    rows = tf.data.Dataset.from_tensor_slices((X[:16], Y[:16])).batch(8)
    data = rows.map(lambda x, y: ({"numbers": x, "shift": tf.ones(shape)}, y))
    compiled(Shifted()).fit(data, shuffle=False, verbose=0)
    with pytest.raises(ConfigError, match=r"^tensors of a batch have the shapes \(8, 6\) and \("):
        compiled(Shifted(), micro_batches=2).fit(data, shuffle=False, verbose=0)


def test_an_optimizer_of_another_scope_is_refused():
    optimizer = keras.optimizers.SGD(0.1)
    with tfscale.strategy("mirrored").scope():
        model = tfscale.Model(network())
    with pytest.raises(ConfigError, match="scope"):
        model.compile(optimizer, loss="mse")


def built_network():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dense(3)])


def compressed(*, teacher=None):
    """A model with masks, weights rounded to int8, and a bias without weight decay."""
    model = tfscale.Model(built_network())
    schedule = tfscale.compress.PolynomialDecay(0.0, 0.5, begin_step=2, end_step=8, frequency=2)
    tfscale.compress.prune(model, schedule)
    assert tfscale.compress.quantize_aware(model, "int8")
    if teacher is not None:
        tfscale.compress.distill(model, teacher, from_logits=True)
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, xla=False)
    return model


def fit_further(model, epochs):
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return [weight.numpy() for weight in [*model.network.weights, *model.train_state.weights]]


def test_a_loaded_model_goes_on_as_one_that_was_pruned_and_rounded(tmp_path):
    model = compressed()
    fit_further(model, 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    pairs = zip(fit_further(loaded, 2), fit_further(model, 2), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
    zeros = [np.mean(weight.numpy() == 0) for weight in loaded.network.weights[::2]]
    assert min(zeros) >= 0.4
    assert loaded.formats and loaded.formats.keys() == {w.path for w in loaded.network.weights[::2]}


def test_a_file_of_a_model_with_a_teacher_asks_for_compile(tmp_path):
    model = compressed(teacher=built_network())
    fit_further(model, 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    message = (
        r"does not keep what tfscale.compress.distill set: call it again, then compile\(model.op"
    )
    with pytest.raises(ConfigError, match=message):
        loaded.evaluate(X, Y)


def test_data_of_other_sizes_are_evaluated_in_turn():
    """Those of the first have a known number of rows, as arrays that batches divide have."""
    with tfscale.strategy("mirrored").scope():
        model = compiled(network())
    alone = compiled(network())
    for rows in (16, 25, 16, 3):
        found, wanted = (
            m.evaluate(X[:rows], Y[:rows], batch_size=8, verbose=0) for m in (model, alone)
        )
        assert found == pytest.approx(wanted, rel=1e-5)


def reader():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Embedding(5, 4), keras.layers.Flatten(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((6,), dtype="int32"), *layers])


def compiled_reader(xla):
    model = tfscale.Model(reader())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss=loss, xla=xla)
    return model


@pytest.mark.parametrize(
    "xla, error, message",
    [
        (
            False,
            DataError,
            "an id is 5, and the table .* has 5 rows: ids are from 0 to below that$",
        ),
        (None, TrainingError, "not finite at step 1; .* an id beyond the rows of an Embedding"),
    ],
)
def test_ids_beyond_a_table(xla, error, message):
    """XLA reads the last row in their place; ids from the end of the table count, as in Keras."""
    ids, model = RNG.integers(-5, 5, (8, 6)), compiled_reader(xla)
    before = model.network.get_weights()
    assert np.isfinite(model.evaluate(ids, Y[:8], verbose=0))
    ids[7, 2] = 5
    with pytest.raises(error, match=message):
        model.fit(ids, Y[:8], verbose=0)
    for one, other in zip(model.network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    for call in (lambda: model.evaluate(ids, Y[:8], verbose=0), lambda: model.predict(ids)):
        with pytest.raises(DataError, match="an id is 5, and the table"):
            call()


def test_ids_beyond_a_table_give_nan_where_xla_evaluates():
    model, ids = compiled_reader(True), RNG.integers(0, 5, (8, 6))
    assert np.isfinite(model.predict(ids, verbose=0)).all()
    ids[7, 2] = 5
    assert np.isnan(model.evaluate(ids, Y[:8], verbose=0))
    assert np.isnan(model.predict(ids, verbose=0)).any(-1).tolist() == [False] * 7 + [True]


def test_a_target_beyond_the_outputs_is_named():
    with pytest.raises(
        DataError, match="a target is 3, and .* from 0 to below 3, the outputs that"
    ):
        compiled_reader(False).fit(RNG.integers(0, 5, (8, 6)), np.full(8, 3), verbose=0)


class MeanOfRagged(keras.Model):
    def __init__(self):
        super().__init__()
        self.table, self.head = keras.layers.Embedding(5, 3), keras.layers.Dense(3)

    def call(self, ids):
        return self.head(tf.reduce_mean(tf.ragged.map_flat_values(self.table, ids), axis=1))


def test_ragged_rows_on_two_replicas():
    ids = tf.ragged.constant([[number % 5] * (1 + number % 4) + [2] for number in range(25)])
    data = tf.data.Dataset.from_tensor_slices((ids, Y)).batch(8)

    def losses():
        keras.utils.set_random_seed(1)
        return compiled(MeanOfRagged()).fit(data, epochs=2, verbose=0, shuffle=False).history

    wanted = losses()
    with tfscale.strategy("mirrored").scope():
        found = losses()
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, rel=1e-5), name
