"""`fit` and `evaluate` of ids, targets, weights and masks that a Keras user brings.

Values are those of NumPy, of stock Keras, or of the same data with weights written out.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.slow import slow_but
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError, DataError
from tfscale.models.outputs import Vocabulary
from tfscale.training.batches import as_batches
from tfscale.training.language_model import LanguageModel

V, T, ROWS = 16, 6, 40
layers = keras.layers
slices = tf.data.Dataset.from_tensor_slices


def windows():
    stream = np.random.default_rng(0).integers(0, V, (ROWS, T + 1)).astype("int32")
    return stream[:, :-1], stream[:, 1:]


X, Y = windows()
IGNORED = np.where(np.arange(T) < 4, Y, -100)
KEPT = np.broadcast_to((np.arange(T) < 4).astype("float32"), Y.shape)


def network(**embedding):
    keras.utils.set_random_seed(0)
    table = layers.Embedding(V, 8, **embedding)
    middle = layers.GRU(8, return_sequences=True) if embedding else layers.Dense(8, "tanh")
    return keras.Sequential([layers.Input((None,), dtype="int32"), table, middle, layers.Dense(V)])


def language_model(optimizer=None, xla=False, make=network, **options):
    model = LanguageModel(make())
    model.compile(optimizer or keras.optimizers.SGD(0.1), xla=xla, **options)
    return model


def moved(model, *data, **options):
    """How far the largest weight moves in `fit`, and the logs of the last epoch."""
    before = model.get_weights()
    history = model.fit(*data, verbose=0, **options).history
    gap = max(np.abs(a - b).max() for a, b in zip(before, model.get_weights(), strict=True))
    return gap, {name: values[-1] for name, values in history.items()}


def mean_nll(model, weights=1.0):
    log_p = tf.nn.log_softmax(tf.cast(model.network(X), tf.float64)).numpy()
    nll = -np.take_along_axis(log_p, Y[..., None], -1)[..., 0]
    return (nll * weights).sum() / (np.ones(Y.shape) * weights).sum()


@pytest.mark.parametrize("xla", slow_but([False, True], True))
def test_negative_targets_count_as_weight_0_in_training_and_validation(xla):
    model = language_model(xla=xla)
    history = model.fit(X, IGNORED, batch_size=8, verbose=0, validation_data=(X, IGNORED)).history
    assert history["loss"][0] == pytest.approx(2.77354, abs=1e-5)
    assert history["val_loss"][0] == pytest.approx(2.76917, abs=1e-5)
    assert model.evaluate(X, IGNORED)["tokens"] == 160
    assert model.evaluate(X, IGNORED)["loss"] == pytest.approx(mean_nll(model, KEPT), abs=1e-6)


def numbers(batches):
    return [[part.tolist() for part in batch] for batch in batches.as_numpy_iterator()]


def all_ids(length):
    assert length == T
    return Vocabulary(V, V)


@pytest.mark.parametrize("label", [-1, -100, -(2**31)])
@pytest.mark.parametrize("kind", ["arrays", "fixed", "open"])
def test_every_negative_label_becomes_a_target_of_weight_0(kind, label):
    targets = np.where(IGNORED < 0, np.int32(label), IGNORED)
    dataset = slices((X, targets)).batch(8, drop_remainder=kind == "fixed")
    found = as_batches(
        *((X, targets) if kind == "arrays" else (dataset,)), batch_size=8, vocabulary=all_ids
    )
    assert numbers(found) == numbers(slices((X, np.where(IGNORED < 0, 0, Y), KEPT)).batch(8))


@pytest.mark.parametrize("share", [False, True])
def test_negative_targets_of_a_dataset_in_training(share):
    dataset = slices((X, IGNORED)).batch(8, drop_remainder=True)
    model, expected = language_model(), language_model()
    found = moved(model, (lambda context: dataset) if share else dataset)
    reference = moved(expected, X, Y, sample_weight=KEPT, batch_size=8, shuffle=False)
    assert (found[0], found[1]["loss"]) == (reference[0], reference[1]["loss"])


def altered(array, value):
    array = array.copy()
    array[19, 3] = value
    return array


@pytest.mark.parametrize(
    "ids,targets,message",
    [
        (
            altered(X, V),
            Y,
            f"id {V} in row {{}}, column 3{{}} is outside of the model's vocabulary, 0 to 15$",
        ),
        (
            altered(X, -1),
            Y,
            "id -1 in row {}, column 3{} is outside of the model's vocabulary, 0 to 15$",
        ),
        (
            X,
            altered(Y, V),
            f"target {V} in row {{}}, column 3{{}} is outside .* 0 to 15; a target to leave out is neg",
        ),
    ],
)
def test_ids_outside_of_the_vocabulary_are_named(ids, targets, message):
    model = language_model()
    whole, batch = message.format(19, ""), message.format(3, " of batch 3")
    for call in (model.fit, model.evaluate):
        with pytest.raises(DataError, match=whole):
            call(ids, targets, verbose=0)
        for fixed in (True, False):
            with pytest.raises(DataError, match=batch):
                call(slices((ids, targets)).batch(8, drop_remainder=fixed), verbose=0)
    with pytest.raises(DataError, match=batch):
        model.fit(lambda context: slices((ids, targets)).batch(8), verbose=0, steps_per_epoch=5)
    with pytest.raises(DataError, match=whole):
        model.fit(X, Y, verbose=0, validation_data=(ids, targets))


def test_a_bad_id_is_named_on_two_replicas():
    with strategy("mirrored").scope():
        model = language_model()
    dataset = slices((altered(X, V), Y)).batch(8)
    for call in (model.fit, model.evaluate):
        with pytest.raises(DataError, match="^id 16 in row 3, column 3 of batch 3 is outside"):
            call(dataset, verbose=0)


def test_the_networks_table_says_which_ids_there_are():
    """A table of one more row than there are targets: 16 is an id, and no target."""

    def padded():
        return keras.Sequential(
            [layers.Input((None,)), layers.Embedding(V + 1, 8), layers.Dense(V)]
        )

    model = language_model(make=padded)
    assert np.isfinite(model.evaluate(altered(X, V), Y)["loss"])
    with pytest.raises(DataError, match="id 17 .* 0 to 16"):
        model.evaluate(altered(X, 17), Y)
    with pytest.raises(DataError, match="target 16 .* 0 to 15"):
        model.evaluate(X, altered(Y, 16))


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1), (ROWS, T)])
@pytest.mark.parametrize("kind", ["arrays", "fixed", "open"])
def test_weights_of_every_shape_are_those_of_each_token(shape, kind):
    weights = np.random.default_rng(1).random(shape).astype("float32")
    dataset = slices((X, Y, weights)).batch(8, drop_remainder=kind == "fixed")
    found = as_batches(
        *((X, Y, weights) if kind == "arrays" else (dataset,)), batch_size=8, vocabulary=all_ids
    )
    each = np.broadcast_to(weights.reshape(ROWS, -1), Y.shape)
    assert numbers(found) == numbers(slices((X, Y, each)).batch(8))


def test_weights_of_rows_mean_what_keras_means():
    weights = np.random.default_rng(1).random((ROWS, 1)).astype("float32")
    dataset = slices((X, Y, weights)).batch(ROWS, drop_remainder=True)
    model = language_model(clip_norm=0.0)
    found = model.evaluate(dataset)
    assert found["loss"] == pytest.approx(mean_nll(model, weights), abs=1e-6)
    assert found["tokens"] == pytest.approx(weights.sum() * T, rel=1e-6)
    # Keras divides by the tokens, we by their weights.
    stock = network()
    stock.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    stock.fit(X, Y, sample_weight=weights / weights.mean(), batch_size=ROWS, verbose=0)
    moved(model, dataset)
    assert all(
        np.abs(a - b).max() < 1e-7
        for a, b in zip(stock.get_weights(), model.get_weights(), strict=True)
    )


@pytest.mark.parametrize(
    "parts,message",
    [
        ((X, Y[:, 1:]), r"ids \(8, 6\), targets \(8, 5\)"),
        ((X, Y, np.ones((ROWS, 3))), r"ids \(8, 6\), targets \(8, 6\), weights \(8, 3\)"),
        ((X, Y, -np.ones(ROWS)), "weights must be finite and not negative; batch 1 has -1"),
        ((X, Y, np.full(ROWS, np.nan)), "weights must be finite and not negative; batch 1 has nan"),
        ((X + 0.5, Y), "ids must be whole numbers of 32 bits; batch 1 has"),
        ((X.astype("int64") + 2**32, Y), "ids must be whole numbers of 32 bits; batch 1 has 42949"),
        ((X.astype(str), Y), "the dataset's ids must be numbers; they are string"),
        (({"x": X, "z": X}, Y), r"the dataset's ids are 2 tensors, \{'x'"),
    ],
)
def test_datasets_that_do_not_fit_together(parts, message):
    with pytest.raises(DataError, match=message) as caught:
        language_model().fit(slices(parts).batch(8, drop_remainder=True), verbose=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "x,y,weights,message",
    [
        ([[1, 2], [1]], [[1, 2], [1]], None, "the ids are rows of different lengths"),
        (
            tf.ragged.constant([[1, 2], [1]]),
            [[1, 2], [1, 2]],
            None,
            "the ids are rows of different lengths",
        ),
        (
            np.zeros((0, 6)),
            np.zeros((0, 6)),
            None,
            r"nothing to read: ids and targets are \(0, 6\)",
        ),
        (X + 0.5, Y, None, "ids must be whole numbers of 32 bits; received 13.5"),
        (
            X,
            Y,
            np.ones((ROWS, 3)),
            r"received ids \(40, 6\), targets \(40, 6\) and weights \(40, 3\)",
        ),
        (X, Y, np.where(np.arange(ROWS) == 7, -2.0, 1.0), "not negative; that of row 7 is -2.0"),
        (X, Y, np.zeros(ROWS), "no target counts: every weight is 0"),
        (X, np.full_like(Y, -1), None, "no target counts"),
    ],
)
def test_arrays_that_do_not_fit_together(x, y, weights, message):
    with pytest.raises(DataError, match=message):
        language_model().fit(x, y, sample_weight=weights, verbose=0)


def rows_of(*lengths):
    """Rows of these lengths, each once, and their dataset with lengths that its spec leaves open."""
    rows = [X[at, :length] for at, length in enumerate(lengths)]
    return slices(tf.ragged.stack(rows)).map(lambda row: (row, row))


def test_batches_of_several_lengths_are_padded_to_the_longest_where_their_number_is_known():
    dataset = rows_of(2, 3, 6, 4, 1, 1).padded_batch(2, padding_values=(0, -1))
    model = language_model()
    assert as_batches(dataset).element_spec[0].shape == (2, 6)
    expected = language_model()
    whole = np.where(np.arange(T) < np.array([2, 3, 6, 4, 1, 1])[:, None], X[:6], -1)
    found, reference = (
        moved(m, d) for m, d in ((model, dataset), (expected, slices((X[:6], whole)).batch(2)))
    )
    assert found[0] == pytest.approx(reference[0], rel=1e-5)
    assert found[1]["loss"] == pytest.approx(reference[1]["loss"], rel=1e-6)
    assert model.evaluate(dataset)["tokens"] == 17


@pytest.mark.parametrize(
    "dataset,message",
    [
        (
            lambda: rows_of(2, 3, 6, 4).padded_batch(2).filter(lambda *_: True),
            "batch 2 has windows of 6 tokens, and the first one of 3; pad all to one length",
        ),
        (
            lambda: slices((X, Y)).batch(4).take(1).concatenate(slices((X, Y)).batch(8)),
            "batch 2 has 8 rows, and the first one 4; give batches of one size",
        ),
        (lambda: slices((X, Y)).batch(4).take(0), "the dataset is empty"),
        (lambda: rows_of(2, 3).ragged_batch(2), "the dataset's ids are ragged"),
        (
            lambda: slices((X, Y)),
            r"ids must be \(B, T\); the dataset gives \(6,\); has it been batched",
        ),
    ],
)
def test_batches_of_several_shapes_are_refused(dataset, message):
    with pytest.raises(DataError, match=message):
        language_model().fit(dataset(), verbose=0)


def test_a_generators_dataset_without_shapes_is_taken():
    def batches():
        for start in range(0, ROWS, 8):
            yield X[start : start + 8], Y[start : start + 8], KEPT[start : start + 8, 3]

    dataset = tf.data.Dataset.from_generator(batches, output_types=(tf.int32, tf.int32, tf.float32))
    logs = moved(language_model(), dataset)[1]
    assert logs["loss"] == moved(language_model(), X, Y, batch_size=8, shuffle=False)[1]["loss"]


def test_the_scale_of_the_weights_does_not_change_the_step():
    gaps = [
        moved(
            language_model(clip_norm=0.0), X, Y, sample_weight=np.full(ROWS, scale), batch_size=ROWS
        )[0]
        for scale in (1.0, 0.01, 0.0001)
    ]
    assert gaps == pytest.approx([0.0017350] * 3, abs=1e-7)


@pytest.mark.parametrize("steps_per_call", slow_but([1, 20], 20))
def test_a_batch_in_which_nothing_counts_changes_nothing(steps_per_call):
    """Adam would go on by its moments, and AdamW decay the weights."""
    weights = np.ones(ROWS, "float32")
    weights[8:16] = weights[-8:] = 0
    model, expected = (
        language_model(keras.optimizers.AdamW(0.01), ema_decay=0.5) for _ in range(2)
    )
    options = {"batch_size": 8, "shuffle": False, "steps_per_call": steps_per_call}
    logs = moved(model, X, Y, sample_weight=weights, **options)[1]
    rest = weights > 0
    expected_logs = moved(expected, X[rest], Y[rest], **options)[1]
    assert logs["loss"] == pytest.approx(expected_logs["loss"], rel=1e-6)
    for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    nothing = slices((X, Y, np.zeros(ROWS, "float32"))).batch(8)
    gap, logs = moved(model, nothing, steps_per_call=steps_per_call)
    assert gap == 0 and "loss" not in logs and "perplexity" not in logs
    with pytest.raises(DataError, match="there are no tokens to evaluate"):
        model.evaluate(nothing)


def padded_windows():
    ids, targets = X.copy(), Y.copy()
    ids[:, 4:] = targets[:, 4:] = 0
    return ids, targets


def with_masking():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Masking(0.0)(
        keras.ops.one_hot(inputs, V) * keras.ops.cast(inputs != 0, "float32")[..., None]
    )
    return keras.Model(inputs, layers.Dense(V)(layers.GRU(8, return_sequences=True)(x)))


@pytest.mark.parametrize(
    "make", [pytest.param(lambda: network(mask_zero=True), marks=pytest.mark.slow), with_masking]
)
def test_masks_leave_tokens_out_as_in_stock_keras(make):
    data = padded_windows()
    stock = make()
    stock.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    loss = stock.evaluate(*data, batch_size=ROWS, verbose=0)
    model = language_model(make=make, clip_norm=0.0)
    found = model.evaluate(*data)
    assert found["loss"] == pytest.approx(loss, abs=1e-6)
    assert found["tokens"] == (data[0] > 0).sum() == 148
    stock.fit(*data, batch_size=ROWS, verbose=0)
    logs = moved(model, *data, batch_size=ROWS, validation_data=data)[1]
    assert logs["loss"] == pytest.approx(loss, abs=1e-6)
    assert logs["val_loss"] == pytest.approx(
        stock.evaluate(*data, batch_size=ROWS, verbose=0), abs=1e-6
    )
    assert all(
        np.abs(a - b).max() < 1e-6
        for a, b in zip(stock.get_weights(), model.get_weights(), strict=True)
    )


@pytest.mark.parametrize(
    "where,options",
    [
        pytest.param("single", {"micro_batches": 4, "xla": True}, marks=pytest.mark.slow),
        ("mirrored", {}),
    ],
)
def test_masks_under_micro_batches_and_replicas(where, options):
    """The rows of one part hold more padding than those of another."""
    ids, targets = X.copy(), Y.copy()
    ids[:10, 1:] = 0
    expected = language_model(make=lambda: network(mask_zero=True))
    with strategy(where).scope():
        model = language_model(make=lambda: network(mask_zero=True), **options)
    for one in (expected, model):
        one.fit(ids, targets, batch_size=ROWS, verbose=0)
    assert model.evaluate(ids, targets) == pytest.approx(expected.evaluate(ids, targets), rel=1e-6)
    assert all(
        np.abs(a - b).max() < 1e-7
        for a, b in zip(model.get_weights(), expected.get_weights(), strict=True)
    )


def test_networks_are_looked_at_before_the_first_step():
    def make(*head):
        return lambda: keras.Sequential([layers.Input((None,)), layers.Embedding(V, 8), *head])

    softmax, both = (
        make(layers.Dense(V, "softmax")),
        make(layers.Bidirectional(layers.GRU(4, return_sequences=True))),
    )
    for network_of, message in ((softmax, "ends in softmax"), (both, "sees the future")):
        model = language_model(make=network_of)
        for call in (model.fit, model.evaluate):
            with pytest.raises(ConfigError, match=message):
                call(X, Y, verbose=0)
        assert int(model.optimizer.iterations) == 0


def test_errors_of_the_step_are_one_line():
    def normalized():
        return keras.Sequential(
            [
                layers.Input((None,)),
                layers.Embedding(V, 8),
                layers.BatchNormalization(),
                layers.Dense(V),
            ],
            name="mine",
        )

    with pytest.raises(
        ConfigError, match="^model 'mine' updates state in its forward pass"
    ) as caught:
        language_model(make=normalized).fit(X, Y, verbose=0)
    assert "\n" not in str(caught.value)
