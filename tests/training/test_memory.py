"""Rematerialization: the same gradients with the same dropout, from less memory; and GPU memory that grows."""

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.tiny import CONFIGS, LENGTH, TWO_BLOCKS, VOCABULARY, compiled_program
from tfscale import models
from tfscale.config.step import CompileOptions
from tfscale.distribution import strategy as strategies
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError
from tfscale.models.remat import rematerialized
from tfscale.training.language_model import LanguageModel
from tfscale.training.step import TrainStep

FAMILIES = CONFIGS | {
    "transformer": TWO_BLOCKS,
    "modern": dataclasses.replace(
        CONFIGS["transformer"],
        query_key_norm=True,
        activation="relu_squared",
        residual_initializer="zeros",
        embedding_skip=True,
        attention_soft_cap=1.0,
        tie_embeddings=False,
        logit_soft_cap=5.0,
    ),
    "layers": dataclasses.replace(
        TWO_BLOCKS,
        positions="rope",
        sandwich_norm=True,
        query_key_value_bias=True,
        attention_window=4,
        global_every=2,
        local_rope_base=50.0,
        rope_scaling="linear",
        rope_factor=4.0,
    ),
}


def micro_batch_gradients(windows, family, precision="float32", xla=False, draw=7, **options):
    """Gradients of one micro-batch of 8 rows with dropout 0.3, as the train step takes them."""
    network = models.build_network(dataclasses.replace(FAMILIES[family], dropout=0.3), precision)
    step = TrainStep(
        network,
        keras.optimizers.SGD(0.1),
        CompileOptions(xla=xla, clip_norm=0.0, **options),
        tf.distribute.get_strategy(),
    )
    ids, targets = (x[:8] for x in windows)
    *gradients, _, _ = tf.function(step._micro_batch, jit_compile=xla)(
        ids, targets, tf.ones(ids.shape), tf.constant(0.01), tf.constant(draw, tf.int64)
    )
    return [np.asarray(g, "float32") for g in gradients]


def gap(a, b):
    """Largest difference, over the largest value."""
    largest = max(float(np.abs(x).max()) for x in a)
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True)) / largest


@pytest.mark.parametrize(
    ("family", "precision", "xla", "limit"),
    [
        ("transformer", "float32", False, 1e-6),
        pytest.param("transformer", "float32", True, 1e-6, marks=pytest.mark.slow),
        pytest.param("modern", "float32", True, 1e-6, marks=pytest.mark.slow),
        pytest.param("layers", "float32", True, 1e-6, marks=pytest.mark.slow),
        pytest.param("transformer", "mixed_bfloat16", False, 2**-8, marks=pytest.mark.slow),
        pytest.param("transformer", "mixed_float16", True, 2**-10, marks=pytest.mark.slow),
        pytest.param("lstm", "float32", False, 1e-6, marks=pytest.mark.slow),
        pytest.param("lstm", "float32", True, 1e-6, marks=pytest.mark.slow),
        pytest.param("lstm", "mixed_bfloat16", False, 2**-8, marks=pytest.mark.slow),
    ],
)
def test_gradients_with_dropout_are_those_without_rematerialization(
    windows, family, precision, xla, limit
):
    plain, again = (
        micro_batch_gradients(windows, family, precision, xla, remat=remat)
        for remat in (False, True)
    )
    assert gap(plain, again) <= limit
    if not xla:  # the masks matter: another draw has another gradient
        assert (
            gap(plain, micro_batch_gradients(windows, family, precision, xla, draw=8, remat=True))
            > 0.01
        )


@pytest.mark.parametrize(
    ("family", "name", "micro", "xla"),
    [
        pytest.param("transformer", "single", 2, True, marks=pytest.mark.slow),
        pytest.param("transformer", "mirrored", 2, True, marks=pytest.mark.slow),
        pytest.param("modern", "mirrored", 2, True, marks=pytest.mark.slow),
        pytest.param("lstm", "single", 2, True, marks=pytest.mark.slow),
        pytest.param("lstm", "mirrored", 1, False, marks=pytest.mark.slow),
    ],
)
def test_fit_is_the_same_with_both_savings(windows, family, name, micro, xla):
    results = []
    for options in ({}, {"remat": True, "loss_chunk_tokens": 25}):
        with strategy(name).scope():
            model = LanguageModel(
                models.build_network(dataclasses.replace(FAMILIES[family], dropout=0.3))
            )
            model.compile(
                keras.optimizers.SGD(0.5),
                clip_norm=0.1,
                label_smoothing=0.1,
                micro_batches=micro,
                xla=xla,
                **options,
            )
        history = model.fit(
            *windows, batch_size=16, verbose=0, shuffle=False, validation_data=windows
        ).history
        results.append((history, model.network.get_weights()))
    (plain, weights), (saving, saving_weights) = results
    np.testing.assert_allclose(saving["loss"], plain["loss"], rtol=1e-6)
    np.testing.assert_allclose(saving["val_loss"], plain["val_loss"], rtol=1e-6)
    for one, two in zip(weights, saving_weights, strict=True):
        np.testing.assert_allclose(two, one, atol=1e-6)


def test_xla_keeps_the_second_computation_of_each_block(windows):
    """A loop for each of the two blocks, with the forward pass once more in it, less the last product of the block."""
    ids, targets = (tf.constant(x[:16]) for x in windows)
    found = {}
    for remat in (False, True):
        model = LanguageModel(models.build_network(TWO_BLOCKS))
        model.compile(keras.optimizers.SGD(0.1), remat=remat)
        program = compiled_program(model.train_step_runner, ids, targets)
        found[remat] = [
            len(re.findall(rf" {operation}\(", program)) for operation in ("while", "dot")
        ]
    assert found[False][0] == 0
    assert found[True] == [2, found[False][1] + 2 * 5]


def test_a_model_without_hidden_states_is_refused():
    inputs = keras.Input((LENGTH,), dtype="int32")
    model = LanguageModel(
        keras.Model(inputs, keras.layers.Embedding(VOCABULARY, VOCABULARY)(inputs), name="own")
    )
    for options, named in (
        ({"remat": True}, "remat=True"),
        ({"loss_chunk_tokens": 8}, "loss_chunk_tokens=8"),
    ):
        with pytest.raises(
            ConfigError, match=f"{named} needs .*'own' lacks hidden_states, project"
        ):
            model.compile(**options)


def test_a_layer_called_alone_has_its_own_gradients():
    """Eagerly, with the dropout's own state, and with respect to input and weights."""
    layer = keras.layers.Dense(4, activation="tanh")
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32"))
    layer.build(x.shape)
    results = []
    for call in (layer, lambda x: rematerialized(layer, x)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(call(x) ** 2)
        results.append([loss, *tape.gradient(loss, [x, layer.kernel.value, layer.bias.value])])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-6)


def test_a_layer_with_state_between_batches_is_refused():
    layer = keras.layers.BatchNormalization(name="between_batches")
    x = tf.zeros((2, 3, 4))
    layer(x)
    with pytest.raises(
        ConfigError,
        match="'between_batches' updates .*moving_mean in its forward pass, which is taken",
    ):
        rematerialized(layer, x, training=True)
    rematerialized(layer, x)  # nothing is updated outside of training


@pytest.fixture
def two_gpus(monkeypatch):
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(2)]
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else []
    )
    strategies.grow_gpu_memory.cache_clear()
    yield gpus
    strategies.grow_gpu_memory.cache_clear()


def test_gpu_memory_grows_and_is_asked_for_once(two_gpus, monkeypatch):
    asked = []
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: asked.append((gpu, on))
    )
    for _ in range(2):
        strategy("single")
    assert asked == [(gpu, True) for gpu in two_gpus]


def test_gpu_memory_that_cannot_grow_any_more_is_reported_once(two_gpus, monkeypatch):
    def too_late(gpu, on):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", too_late)
    with pytest.warns(
        RuntimeWarning, match=r"GPU:0: Physical devices cannot be .*call tfscale.strategy"
    ) as caught:
        strategy("single")
        strategy("single")
    assert len(caught) == 1
