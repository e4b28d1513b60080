"""The train step: against stock Keras on one device, hand-made sums, and itself cut in other ways."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.tiny import CONFIGS, LENGTH, VOCABULARY, make_windows
from tfscale import models
from tfscale.config import LSTMConfig
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError, TrainingError
from tfscale.training.language_model import LanguageModel


def fit(
    windows,
    family="transformer",
    name="single",
    batch_size=16,
    epochs=3,
    optimizer=None,
    dropout=0.0,
    precision="float32",
    callbacks=(),
    xla=False,
    **options,
):
    """Trains and returns (per-epoch losses, weights, model). XLA compiles for seconds, so most tests do without."""
    config = dataclasses.replace(CONFIGS[family], dropout=dropout)
    with strategy(name).scope():
        model = LanguageModel(models.build_network(config, precision))
        model.compile(
            optimizer() if optimizer else keras.optimizers.AdamW(1e-2), xla=xla, **options
        )
    history = model.fit(
        *windows,
        batch_size=batch_size,
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
    )
    return history.history["loss"], model.network.get_weights(), model


def gap(a, b):
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    "family,optimizer,limit",
    [("transformer", keras.optimizers.AdamW, 5e-5), ("lstm", keras.optimizers.SGD, 1e-6)],
)
def test_one_device_equals_stock_keras_fit(windows, family, optimizer, limit):
    """Keras's own fit is right on one device; not with clipping, where it takes the norm of an embedding's gradient
    before it adds up the rows of a token that occurs more than once."""
    ours_loss, ours, _ = fit(windows, family, clip_norm=0.0, optimizer=lambda: optimizer(1e-2))
    network = models.build_network(CONFIGS[family])
    network.compile(
        optimizer(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    theirs = network.fit(*windows, batch_size=16, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(ours_loss, theirs.history["loss"], atol=1e-5)
    assert gap(ours, network.get_weights()) < limit


SAME = {"clip_norm": 0.1, "ema_decay": 0.9, "label_smoothing": 0.1}


@pytest.fixture(scope="module")
def one_device(windows):
    return {family: fit(windows, family, **SAME) for family in ("transformer", "lstm")}


@pytest.mark.parametrize(
    "family,name,micro,xla",
    [
        pytest.param("transformer", "single", 4, True, marks=pytest.mark.slow),
        pytest.param("transformer", "mirrored", 1, True, marks=pytest.mark.slow),
        ("transformer", "mirrored", 2, False),
        pytest.param("lstm", "single", 2, False, marks=pytest.mark.slow),
        pytest.param("lstm", "mirrored", 2, True, marks=pytest.mark.slow),
    ],
)
def test_replicas_micro_batches_and_xla_do_not_change_the_answer(
    windows, one_device, family, name, micro, xla
):
    one_loss, one, one_model = one_device[family]
    loss, weights, model = fit(windows, family, name, micro_batches=micro, xla=xla, **SAME)
    np.testing.assert_allclose(loss, one_loss, atol=1e-5)
    assert gap(weights, one) < 5e-5
    averages = [[v.numpy() for v in m.train_step_runner.averages] for m in (model, one_model)]
    assert gap(*averages) < 5e-5


def test_unequal_tokens_per_replica_do_not_change_the_answer(windows):
    """The last batch has 9 rows for 16 places, and the weights leave out most tokens of the first rows."""
    ids, targets = (x[:41] for x in windows)
    weights = np.ones((41, LENGTH), "float32")
    weights[:6, 3:] = 0
    results = []
    for name, micro in (("single", 1), ("mirrored", 2)):
        with strategy(name).scope():
            model = LanguageModel(models.build_network(CONFIGS["transformer"]))
            model.compile(keras.optimizers.SGD(0.5), clip_norm=0.1, micro_batches=micro, xla=False)
        history = model.fit(
            ids, targets, sample_weight=weights, batch_size=16, epochs=2, verbose=0, shuffle=False
        )
        results.append((history.history["loss"], model.network.get_weights()))
    np.testing.assert_allclose(results[1][0], results[0][0], atol=1e-5)
    assert gap(results[1][1], results[0][1]) < 1e-6


def test_gradient_and_clipping_by_hand():
    """One softmax layer, one step of SGD: the gradient of the mean loss is (p - y) x / tokens, cut to the norm."""
    inputs = keras.Input((2,), dtype="int32")
    table = keras.layers.Embedding(3, 3, embeddings_initializer="zeros", name="table")
    model = LanguageModel(keras.Model(inputs, table(inputs)))
    model.compile(keras.optimizers.SGD(1.0), clip_norm=0.0, xla=False)
    # Logits are zeros, so p = 1/3. Id 0 is followed by 1 and by 2, id 1 by 2 and (weight 0) by 0.
    model.fit(
        np.array([[0, 0], [1, 1]]),
        np.array([[1, 2], [2, 0]]),
        sample_weight=np.array([[1, 1], [1, 0.0]]),
        batch_size=2,
        verbose=0,
    )
    gradient = (
        np.array([[2 / 3, 1 / 3 - 1 + 1 / 3, 2 / 3 - 1], [1 / 3, 1 / 3, -2 / 3], [0, 0, 0]]) / 3
    )
    np.testing.assert_allclose(np.asarray(table.embeddings.numpy()), -gradient, atol=1e-7)

    table.embeddings.assign(np.zeros((3, 3)))
    model.compile(keras.optimizers.SGD(1.0), clip_norm=0.1, xla=False)
    model.fit(
        np.array([[0, 0], [1, 1]]),
        np.array([[1, 2], [2, 0]]),
        sample_weight=np.array([[1, 1], [1, 0.0]]),
        batch_size=2,
        verbose=0,
    )
    np.testing.assert_allclose(
        table.embeddings.numpy(), -gradient * 0.1 / np.linalg.norm(gradient), atol=1e-7
    )


PENALIZED = {"activation_regularization": 3.0, "temporal_activation_regularization": 2.0}


def test_a_window_of_one_token_has_no_change_to_penalize():
    config = LSTMConfig(
        vocabulary_size=9, sequence_length=1, embedding_dim=4, hidden_dim=4, **PENALIZED
    )
    model = LanguageModel(models.build_network(config))
    model.compile(keras.optimizers.SGD(0.1), xla=False)
    history = model.fit(np.arange(8)[:, None], np.arange(1, 9)[:, None], batch_size=8, verbose=0)
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.slow
def test_what_layers_add_to_the_loss_counts_as_in_stock_keras(windows):
    """`add_loss` and the regularizers of weights, whole and in chunks, micro-batches and replicas."""

    def build():
        network = models.build_network(dataclasses.replace(CONFIGS["lstm"], **PENALIZED))
        network.output_layer.kernel.regularizer = keras.regularizers.L2(0.5)
        return network

    network = build()
    network.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    network.fit(*windows, batch_size=16, epochs=2, shuffle=False, verbose=0)
    plain = fit(
        windows, "lstm", optimizer=lambda: keras.optimizers.SGD(0.1), clip_norm=0.0, epochs=2
    )
    assert gap(plain[1], network.get_weights()) > 1e-2
    for name, options in (
        ("single", {}),
        ("mirrored", {"micro_batches": 2}),
        ("single", {"loss_chunk_tokens": 40, "remat": True}),
    ):
        with strategy(name).scope():
            model = LanguageModel(build())
            model.compile(keras.optimizers.SGD(0.1), xla=False, clip_norm=0.0, **options)
        model.fit(*windows, batch_size=16, epochs=2, verbose=0, shuffle=False)
        assert gap(model.network.get_weights(), network.get_weights()) < 2e-6


class Added(keras.layers.Layer):
    """Adds a number of its output to the loss."""

    def __init__(self, reduced):
        super().__init__()
        self.reduced = reduced

    def call(self, x):
        self.add_loss(0.01 * self.reduced(keras.ops.square(x)))
        return x


def test_a_sum_that_a_layer_adds_is_stock_keras_on_one_device_and_refused_in_parts(windows):
    def build(reduced):
        keras.utils.set_random_seed(0)
        embedding = keras.layers.Embedding(VOCABULARY, 4)
        added, head = Added(reduced), keras.layers.Dense(VOCABULARY)
        return keras.Sequential([keras.Input((None,), dtype="int32"), embedding, added, head])

    stock, network = build(keras.ops.sum), build(keras.ops.sum)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    stock.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    stock.fit(*windows, batch_size=16, shuffle=False, verbose=0)
    for layers_network, options in ((network, {}), (build(keras.ops.mean), {"micro_batches": 2})):
        model = LanguageModel(layers_network)
        model.compile(keras.optimizers.SGD(0.1), xla=False, **options)
        model.fit(*windows, batch_size=16, shuffle=False, verbose=0)
    assert gap(network.get_weights(), stock.get_weights()) < 2e-6
    model = LanguageModel(build(keras.ops.sum))
    model.compile(keras.optimizers.SGD(0.1), xla=False, micro_batches=2)
    with pytest.raises(ConfigError, match="number 1 that layers of model .* not their mean"):
        model.fit(*windows, batch_size=16, verbose=0)


def test_label_smoothing_gradient_equals_keras_loss(windows):
    _, ours, _ = fit(windows, label_smoothing=0.2, clip_norm=0.0, epochs=1)
    network = models.build_network(CONFIGS["transformer"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    network.compile(keras.optimizers.AdamW(1e-2), loss, jit_compile=False)
    network.fit(
        windows[0],
        np.eye(VOCABULARY)[windows[1]],
        batch_size=16,
        epochs=1,
        shuffle=False,
        verbose=0,
    )
    assert gap(ours, network.get_weights()) < 5e-5


def test_reported_loss_is_without_label_smoothing(windows):
    ids, targets = (x[:16] for x in windows)
    network = models.build_network(CONFIGS["transformer"])
    logits = network(ids).numpy().astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_p, targets[..., None], -1).mean()
    loss, _, _ = fit((ids, targets), label_smoothing=0.3, epochs=1)
    assert loss[0] == pytest.approx(expected, abs=1e-5)


def test_average_of_weights_by_hand(windows):
    ids, targets = (x[:16] for x in windows)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(self.model.network.get_weights())

    start = models.build_network(CONFIGS["transformer"]).get_weights()
    _, _, model = fit((ids, targets), epochs=5, ema_decay=0.3, callbacks=[Watch()])
    expected = start
    # (1 + t) / (10 + t) after t updates is 1/10, 2/11, 3/12 and 4/13, and then more than 0.3.
    for weights, decay in zip(seen, [0.1, 2 / 11, 0.25, 0.3, 0.3], strict=True):
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, weights, strict=True)]
    assert gap([v.numpy() for v in model.train_step_runner.averages], expected) < 1e-6
    with model.averaged_weights():
        assert gap(model.network.get_weights(), expected) < 1e-6
    assert gap(model.network.get_weights(), seen[-1]) == 0


def test_averages_of_no_update_are_the_weights(windows):
    """Weights that are set after `compile` are what `evaluate` uses until there is an average."""
    model = LanguageModel(models.build_network(CONFIGS["transformer"]))
    model.compile("sgd", ema_decay=0.9, xla=False)
    model.network.set_weights([weight * 0.5 for weight in model.network.get_weights()])
    plain = LanguageModel(model.network)
    plain.compile("sgd", xla=False)
    assert model.evaluate(*windows) == plain.evaluate(*windows)


@pytest.mark.parametrize("name", ["single", pytest.param("mirrored", marks=pytest.mark.slow)])
def test_dropout_repeats_and_follows_the_seed(windows, name):
    results = [fit(windows, name=name, dropout=0.5, seed=seed, epochs=1)[1] for seed in (1, 1, 2)]
    assert gap(results[0], results[1]) == 0
    assert gap(results[0], results[2]) > 1e-4


def test_dropout_differs_per_replica_and_micro_batch():
    """All rows are the same, so replicas that drew the same mask would have the same loss."""
    ids, targets = make_windows(1)
    ids, targets = np.repeat(ids, 8, 0), np.repeat(targets, 8, 0)
    with strategy("mirrored").scope():
        model = LanguageModel(
            models.build_network(dataclasses.replace(CONFIGS["transformer"], dropout=0.5))
        )
        model.compile(keras.optimizers.SGD(0.0), xla=False)
    step = model.train_step_runner
    draws = [(0, 0), (0, 1), (1, 0), (1, 1)]
    losses = set()
    for at, replica in draws:
        number = tf.constant(at * 2 + replica, tf.int64)
        ones = tf.ones((4, LENGTH))
        losses.add(
            float(step._micro_batch(ids[:4], targets[:4], ones, tf.constant(1.0), number)[-2])
        )
    assert len(losses) == len(draws)


def test_float16_overflow_on_one_replica_skips_the_step_on_all_and_halves_the_scale_once(windows):
    with strategy("mirrored").scope():
        model = LanguageModel(models.build_network(CONFIGS["transformer"], "mixed_float16"))
        model.compile(keras.optimizers.SGD(0.1), xla=False)
    step = model.train_step_runner
    before = model.network.get_weights()
    for replica in (0, 1):
        weights = np.ones((16, LENGTH), "float32")
        weights[replica * 8 : replica * 8 + 8] = (
            3e38  # the scaled loss of this replica alone is infinite
        )
        model.fit(
            *(x[:16] for x in windows),
            sample_weight=weights,
            batch_size=16,
            verbose=0,
            shuffle=False,
        )
        assert gap(before, model.network.get_weights()) == 0
        assert float(step.loss_scale.value.numpy()) == 2.0 ** (14 - replica)
        assert int(step.overflows.numpy()) == 1 + replica
    model.fit(*(x[:16] for x in windows), batch_size=16, verbose=0, shuffle=False)
    assert gap(before, model.network.get_weights()) > 0
    for variable in model.network.trainable_variables:
        one, two = (v.numpy() for v in variable.value.values)
        np.testing.assert_array_equal(one, two)


def test_float16_scale_grows_after_enough_good_steps(windows):
    model = LanguageModel(models.build_network(CONFIGS["transformer"], "mixed_float16"))
    model.compile(keras.optimizers.SGD(0.1), xla=False)
    step = model.train_step_runner
    step.loss_scale.steps_since_overflow.assign(1998)
    model.fit(*(x[:32] for x in windows), batch_size=16, verbose=0)
    assert float(step.loss_scale.value.numpy()) == 2.0**16
    assert int(step.loss_scale.steps_since_overflow.numpy()) == 0


def overflowing(rows):
    """Weights (48, LENGTH) for which the loss of these rows is infinite in any precision."""
    weights = np.ones((48, LENGTH), "float32")
    weights[rows] = 3e38
    return weights


def float16_model(scale):
    model = LanguageModel(models.build_network(CONFIGS["transformer"], "mixed_float16"))
    model.compile(keras.optimizers.SGD(0.1), xla=False)
    model.train_step_runner.loss_scale.value.assign(scale)
    return model


def test_a_float16_step_that_is_skipped_is_no_part_of_the_means(windows):
    """Three steps, of which the second one overflows: the epoch's loss is that of the other two."""
    model, other = float16_model(1024.0), float16_model(1024.0)
    history = model.fit(
        *windows, sample_weight=overflowing([20]), batch_size=16, verbose=0, shuffle=False
    ).history
    good = np.r_[0:16, 32:48]
    expected = other.fit(
        *(part[good] for part in windows), batch_size=16, verbose=0, shuffle=False
    ).history
    assert history["loss"] == expected["loss"] and history["perplexity"] == expected["perplexity"]
    assert int(model.train_step_runner.overflows.numpy()) == 1
    assert (
        gap(model.network.get_weights(), other.network.get_weights()) < 1e-5
    )  # the scale of the third step differs


def test_a_call_of_skipped_steps_alone_has_no_loss(windows):
    model, seen = float16_model(1024.0), []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs))
    weights = overflowing([0])[:16]
    model.fit(
        *(part[:16] for part in windows),
        sample_weight=weights,
        batch_size=16,
        verbose=0,
        callbacks=[watch],
    )
    assert seen[0]["tokens"] == 0 and not {"loss", "perplexity"} & set(seen[0])


def test_a_float16_step_with_no_scale_left_to_halve_is_divergence(windows):
    """The scale is 4: steps 1 and 2 halve it to 1, step 3 is the first that nothing can mend, step 4 is not taken."""
    model = float16_model(4.0)
    before = model.network.get_weights()
    weights = overflowing(np.arange(36))
    with pytest.raises(TrainingError, match="not finite at step 3, though the loss scale is 1"):
        model.fit(*windows, sample_weight=weights, batch_size=12, verbose=0, shuffle=False)
    assert gap(before, model.network.get_weights()) == 0
    assert int(model.train_step_runner.overflows.numpy()) == 3


@pytest.fixture(scope="module")
def losses_of_float32(windows):
    return fit(windows, epochs=6)[0]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns_like_float32(windows, losses_of_float32, precision):
    exact = losses_of_float32
    mixed, _, model = fit(windows, epochs=6, precision=precision, xla=True)
    assert exact[-1] < 0.75 * exact[0]
    np.testing.assert_allclose(mixed, exact, rtol=0.02)
    assert int(model.train_step_runner.overflows.numpy()) == 0


@pytest.mark.parametrize(
    ("options", "rewritten"),
    [
        ({}, set()),
        ({"xla": True}, set()),
        ({"micro_batches": 2}, {"tf___replica_gradients"}),
    ],
)
def test_autograph_rewrites_what_has_loops_and_nothing_else(windows, options, rewritten):
    """To rewrite a function takes as long as to trace it, before the first step."""
    stacks = []

    class Watching(keras.layers.Layer):
        def call(self, x):
            stacks.append({frame.function for frame in inspect.stack()})
            return x

    layers = keras.layers
    with strategy("single").scope():
        network = keras.Sequential(
            [
                keras.Input((None,), dtype="int32"),
                layers.Embedding(VOCABULARY, 8),
                Watching(),
                layers.Dense(VOCABULARY),
            ]
        )
        model = LanguageModel(network)
        model.compile(keras.optimizers.AdamW(1e-2), **({"xla": False} | options))
    model.fit(*windows, batch_size=16, epochs=1, verbose=0)
    found = [stack for stack in stacks if "tf___run_block" in stack]
    assert found
    for stack in found:
        names = {name for name in stack if name.startswith("tf__")}
        assert names == {"tf___run_block", "tf___one_step"} | rewritten


def test_loss_that_is_not_finite_stops_with_the_step_named(windows):
    model = LanguageModel(models.build_network(CONFIGS["transformer"]))
    model.compile(keras.optimizers.SGD(0.1), xla=False)
    weights = np.ones((48, LENGTH), "float32")
    weights[20] = 3e38  # overflows, in the second batch of 16
    with pytest.raises(TrainingError, match="not finite at step 2"):
        model.fit(*windows, sample_weight=weights, batch_size=16, verbose=0, shuffle=False)
    other = LanguageModel(models.build_network(CONFIGS["transformer"]))
    other.compile(keras.optimizers.SGD(0.1), xla=False)
    other.fit(*(part[:16] for part in windows), batch_size=16, verbose=0, shuffle=False)
    assert gap(model.network.get_weights(), other.network.get_weights()) == 0  # those after step 1


def test_optimizers_that_do_the_steps_work_are_refused():
    for argument, ours in (
        ("global_clipnorm", "clip_norm"),
        ("use_ema", "ema_decay"),
        ("gradient_accumulation_steps", "micro_batches"),
    ):
        model = LanguageModel(models.build_network(CONFIGS["lstm"]))
        with pytest.raises(ConfigError, match=f"{argument}.*{ours}"):
            model.compile(keras.optimizers.AdamW(1e-3, **{argument: 2}))


def test_an_optimizer_that_unscales_gradients_is_refused():
    model = LanguageModel(models.build_network(CONFIGS["lstm"]))
    with pytest.raises(ConfigError, match="loss_scale_factor=1024.0.*leave it out.*mixed_float16"):
        model.compile(keras.optimizers.SGD(0.5, loss_scale_factor=1024.0))


def test_models_with_state_between_batches_are_refused(windows):
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.BatchNormalization()(keras.layers.Embedding(VOCABULARY, 8)(inputs))
    model = LanguageModel(keras.Model(inputs, keras.layers.Dense(VOCABULARY)(x)))
    model.compile()
    with pytest.raises(ConfigError, match="batch normalization"):
        model.fit(*windows, verbose=0)
