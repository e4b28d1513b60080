"""Optimizers by name: their Keras classes and options, which weights get what, the same answer everywhere."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tests.training.tiny import CONFIGS, VOCABULARY, gru_network, make_windows
from tfscale import models
from tfscale.config import GRUConfig, TrainConfig, TransformerConfig
from tfscale.config.optimizer import OPTIONS
from tfscale.config.optimizer_options import OptimizerOptions
from tfscale.errors import ConfigError
from tfscale.models.roles import hidden_matrices, undecayed_variables
from tfscale.registry import OPTIMIZERS
from tfscale.training.language_model import LanguageModel
from tfscale.training.optimizers import build_optimizer, keras_class

NAMES = OPTIMIZERS.names()


@pytest.mark.parametrize(
    "config,expected",
    [
        (
            TransformerConfig(
                vocabulary_size=9, hidden_dim=8, num_layers=1, num_heads=2, use_bias=True
            ),
            {
                "query_key_value/kernel",
                "output_projection/kernel",
                "expand/kernel",
                "contract/kernel",
            },
        ),
        (CONFIGS["lstm"], {"lstm_cell/kernel", "lstm_cell/recurrent_kernel", "output/kernel"}),
        # The bias of a GRU has two rows, and is a bias.
        (
            GRUConfig(vocabulary_size=9, embedding_dim=4, hidden_dim=4, num_layers=1),
            {"gru_cell/kernel", "gru_cell/recurrent_kernel", "output/kernel"},
        ),
    ],
)
def test_weight_decay_spares_norms_biases_and_embeddings(config, expected):
    network = models.build_network(config)
    spared = {id(v) for v in undecayed_variables(network)}
    decayed = {
        "/".join(v.path.split("/")[-2:]) for v in network.trainable_variables if id(v) not in spared
    }
    assert decayed == expected
    optimizer = build_optimizer(
        TrainConfig(weight_decay=0.5, learning_rate=0.1, warmup_steps=0), network
    )
    optimizer.build(network.trainable_variables)
    before = [np.array(v.numpy()) for v in network.trainable_variables]
    optimizer.apply([np.zeros(v.shape, "float32") for v in network.trainable_variables])
    for variable, value in zip(network.trainable_variables, before, strict=True):
        factor = 1.0 if id(variable) in spared else 1 - 0.1 * 0.5
        np.testing.assert_allclose(variable.numpy(), value * factor, rtol=1e-6)


def test_options_are_fields_and_arguments_of_the_keras_class():
    fields = {field.name for field in dataclasses.fields(OptimizerOptions)} - {"optimizer"}
    assert fields == set(OPTIONS)
    for spec in OPTIMIZERS:
        parameters = inspect.signature(keras_class(spec)).parameters
        assert set(spec.defaults) <= set(parameters), spec.name
        assert "weight_decay" in spec.defaults
    # Each option belongs to somebody.
    assert {name for spec in OPTIMIZERS for name in spec.defaults} == set(OPTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_options_reach_the_keras_optimizer(name):
    network = models.build_network(CONFIGS["transformer"])
    spec = OPTIMIZERS.get(name)
    chosen = {
        option: 7 if option == "ns_steps" else not value if isinstance(value, bool) else 0.25
        for option, value in spec.defaults.items()
    }
    chosen["beta_2_decay"] = -0.25
    chosen = {option: chosen[option] for option in spec.defaults}
    optimizer = build_optimizer(TrainConfig(optimizer=name, **chosen), network)
    assert isinstance(optimizer, keras_class(spec))
    assert {option: optimizer.get_config()[option] for option in chosen} == chosen
    plain = build_optimizer(TrainConfig(optimizer=name), network).get_config()
    for option, value in spec.defaults.items():
        assert plain[option] == value or (plain[option] is None and value == 0), option
    assert plain["clipnorm"] is None and not plain["use_ema"]


@pytest.mark.parametrize(
    "options,message",
    [
        (
            {"beta_1": 0.5, "optimizer": "sgd"},
            "train.beta_1=0.5 is no option of train.optimizer=sgd; it belongs to adam and adamax and",
        ),
        ({"ns_steps": 3}, "train.ns_steps=3 is no option of train.optimizer=adamw; it belongs to muon"),
        ({"beta_2": 1.0}, "train.beta_2=1.0 is out of range; expected 0 to below 1"),
        ({"weight_decay": -0.1}, "train.weight_decay=-0.1 is out of range; expected 0 or more"),
        ({"epsilon": 0.0}, "train.epsilon=0.0 is out of range; expected more than 0"),
        ({"optimizer": "lion", "beta_1": 0.0}, "train.beta_1=0.0 is out of range; expected more than 0"),
        ({"optimizer": "muon", "ns_steps": 30}, "train.ns_steps=30 is out of range"),
        (
            {"optimizer": "sgd", "momentum": 0.0, "nesterov": True},
            "train.nesterov=True needs a train.momentum; it is 0.0",
        ),
        ({"optimizer": "admaw"}, "train.optimizer: expected one of .*adamw.*; received 'admaw'"),
        ({"beta_1": "0.9"}, "train.beta_1: expected a number; received '0.9'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**options)


def test_defaults_are_filled_in_for_a_model():
    filled = TrainConfig().for_model(TransformerConfig())
    assert (filled.weight_decay, filled.beta_1, filled.beta_2, filled.epsilon) == (0.1, 0.9, 0.99, 1e-8)
    assert (filled.momentum, filled.ns_steps, filled.learning_rate) == (None, None, 1e-3)
    muon = TrainConfig(optimizer="muon", momentum=0.5, learning_rate=0.25).for_model(GRUConfig())
    assert (muon.momentum, muon.ns_steps, muon.beta_1, muon.learning_rate) == (0.5, 0, None, 0.25)
    assert muon.with_optimizer("muon") is muon
    assert muon.with_optimizer("adamw") == TrainConfig(learning_rate=0.25)
