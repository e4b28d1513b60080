"""Every registered optimizer: the same on replicas and in micro-batches, after a stop, an overflow, with masks."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tests.gpt2 import gpt2
from tests.slow import slow_but
from tests.training.tiny import LENGTH, VOCABULARY, make_windows
from tfscale import models
from tfscale.compress import ConstantSparsity, prune
from tfscale.config import TrainConfig
from tfscale.errors import ConfigError
from tfscale.registry import OPTIMIZERS
from tfscale.training.language_model import LanguageModel
from tfscale.training.optimizers import build_optimizer

NAMES = OPTIMIZERS.names()
# `make test-slow` takes the others, whose updates Keras runs in the same way.
EACH_KIND = ("muon",)
BY_KIND = [
    pytest.param(name, marks=() if name in EACH_KIND else pytest.mark.slow) for name in NAMES
]
CONFIG = gpt2(
    vocabulary_size=VOCABULARY,
    sequence_length=LENGTH,
    hidden_dim=8,
    num_layers=1,
    num_heads=2,
    use_bias=True,
)
ROWS = 16


def compiled(name, where=None, precision="float32", set_up=lambda model: None, **options):
    with (where or tf.distribute.get_strategy()).scope():
        # The gradient of a bias of keys is 0 but for rounding, whose sign Lion takes.
        config = dataclasses.replace(CONFIG, use_bias=name != "lion")
        network = models.build_network(config, precision, seed=1)
        model = LanguageModel(network)
        set_up(model)
        # All have AdamW's rate, so that their differences by rounding compare.
        config = TrainConfig(
            optimizer=name, learning_rate=1e-3, steps=9, warmup_steps=1, weight_decay=0.1
        )
        model.compile(
            build_optimizer(config, network),
            **{"clip_norm": 0.5, "ema_decay": 0.9, "xla": False, **options},
        )
    return model


def fit(model, first, last, **options):
    ids, targets = make_windows(3 * ROWS)
    model.fit(
        ids[first:last], targets[first:last], batch_size=ROWS, shuffle=False, verbose=0, **options
    )


def state(model):
    return {name: np.array(v.numpy()) for name, v in model.train_step_runner.state().items()}


@pytest.mark.parametrize("name", BY_KIND)
def test_replicas_micro_batches_and_a_stop_change_nothing(name, tmp_path):
    model = compiled(name)
    fit(model, 0, ROWS)
    model.save(tmp_path / "stopped.keras")
    fit(model, ROWS, 3 * ROWS)
    whole = state(model)
    again = keras.saving.load_model(tmp_path / "stopped.keras")
    assert type(again.optimizer) is type(model.optimizer)
    fit(again, ROWS, 3 * ROWS)
    resumed = state(again)
    assert set(resumed) == set(whole)
    for key, value in whole.items():
        np.testing.assert_array_equal(resumed[key], value, err_msg=key)
    several = compiled(name, tfscale.strategy("mirrored"), micro_batches=2)
    fit(several, 0, 3 * ROWS)
    spread = state(several)
    for key, value in whole.items():
        if "optimizer" not in key:
            assert np.abs(spread[key] - value).max() < 2e-5, key
    for weight in several.network.trainable_variables:
        one, two = (part.numpy() for part in weight.value.values)
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", slow_but(list(NAMES), "muon"))
def test_a_step_that_overflows_changes_nothing(name):
    model = compiled(name, tfscale.strategy("mirrored"), "mixed_float16", ema_decay=0.0)
    fit(model, 0, ROWS)
    before = state(model)
    weights = np.ones((ROWS, LENGTH), "float32")
    weights[:8] = 3e38  # the scaled loss of one replica is infinite
    fit(model, 0, ROWS, sample_weight=weights)
    after = state(model)
    changed = {key for key in after if (after[key] != before[key]).any()}
    assert after["overflows"] == before["overflows"] + 1
    assert not [
        key for key in changed if "optimizer" in key or "kernel" in key or "embeddings" in key
    ]
    assert len(changed) <= 5, changed  # counters and the loss scale
    fit(model, 0, ROWS)
    assert {key for key in after if (state(model)[key] != after[key]).any()} - changed


@pytest.mark.parametrize("name", slow_but(list(NAMES), "muon"))
def test_pruned_weights_stay_zero(name):
    model = compiled(name, set_up=lambda model: prune(model, ConstantSparsity(0.5, 0, frequency=1)))
    fit(model, 0, 3 * ROWS)
    kernels = [v for v in model.network.trainable_variables if v.path.endswith("expand/kernel")]
    [kernel] = [np.array(v.numpy()) for v in kernels]
    assert (kernel == 0).mean() == 0.5
    assert np.abs(kernel[kernel != 0]).min() > 0


@pytest.mark.parametrize("name", [spec.name for spec in OPTIMIZERS if not spec.by_entries])
def test_what_looks_at_whole_weights_is_refused_on_servers(name, monkeypatch):
    class Servers(tf.distribute.ParameterServerStrategy):
        def __init__(self):
            pass

    network = models.build_network(CONFIG)
    monkeypatch.setattr(tf.distribute, "get_strategy", Servers)
    message = f"train.optimizer={name} looks at whole weights, which parameter servers cut .* take adagrad"
    with pytest.raises(ConfigError, match=message):
        build_optimizer(TrainConfig(optimizer=name), network)
