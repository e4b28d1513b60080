"""Optimizers by name: their Keras classes and options, which weights get what, the same answer everywhere."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tests.gpt2 import gpt2
from tests.training.tiny import CONFIGS, gru_network, make_windows
from tfscale import models
from tfscale.config import GRUConfig, TrainConfig
from tfscale.config.optimizer import OPTIONS
from tfscale.config.optimizer_options import OptimizerOptions
from tfscale.errors import ConfigError
from tfscale.models.roles import undecayed_variables
from tfscale.planning.plan import memory_of
from tfscale.registry import OPTIMIZERS
from tfscale.training.language_model import LanguageModel
from tfscale.training.optimizers import build_optimizer, keras_class

NAMES = OPTIMIZERS.names()


@pytest.mark.parametrize(
    "config,expected",
    [
        (
            gpt2(vocabulary_size=9, hidden_dim=8, num_layers=1, num_heads=2, use_bias=True),
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
        TrainConfig(optimizer="adamw", weight_decay=0.5, learning_rate=0.1, warmup_steps=0),
        network,
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
            "train.beta_1=0.5 is no option of train.optimizer=sgd; it belongs to adam, adamax,",
        ),
        (
            {"optimizer": "adamw", "ns_steps": 3},
            "train.ns_steps=3 is no option of train.optimizer=adamw; it belongs to muon",
        ),
        ({"beta_2": 1.0}, "train.beta_2=1.0 is out of range; expected 0 to below 1"),
        ({"weight_decay": -0.1}, "train.weight_decay=-0.1 is out of range; expected 0 or more"),
        ({"epsilon": 0.0}, "train.epsilon=0.0 is out of range; expected 1.18e-38 or more"),
        ({"epsilon": 1e-50}, "train.epsilon=1e-50 is out of range; expected 1.18e-38 or more"),
        (
            {"optimizer": "lion", "beta_1": 0.0},
            "train.beta_1=0.0 is out of range; expected more than 0",
        ),
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
    filled = TrainConfig(optimizer="adamw").for_model(gpt2())
    assert (filled.weight_decay, filled.beta_1, filled.beta_2, filled.epsilon) == (
        0.1,
        0.9,
        0.99,
        1e-8,
    )
    assert (filled.momentum, filled.ns_steps, filled.learning_rate) == (None, None, 1e-3)
    muon = TrainConfig(optimizer="muon", momentum=0.5, learning_rate=0.25).for_model(GRUConfig())
    assert (muon.momentum, muon.ns_steps, muon.beta_1, muon.learning_rate) == (0.5, 0, None, 0.25)
    assert muon.with_optimizer("muon") is muon
    options = {"learning_rate": 0.25, "steps": 1000, "final_learning_rate_fraction": 0.1}
    assert muon.with_optimizer("adamw") == TrainConfig(optimizer="adamw", **options)


@pytest.mark.parametrize("family", ["transformer", "lstm"])
@pytest.mark.parametrize(
    "options",
    [
        *({"optimizer": name} for name in NAMES),
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "rmsprop", "momentum": 0.5, "centered": True},
        {"optimizer": "adamw", "amsgrad": True},
    ],
)
def test_the_plan_counts_the_state_that_an_optimizer_makes(family, options):
    # Adafactor has rows and columns for tables, too.
    tables = {"transformer": {"positions": "learned"}}.get(family, {})
    config = dataclasses.replace(
        CONFIGS[family], vocabulary_size=500, tie_embeddings=False, **tables
    )
    network = models.build_network(config)
    train = TrainConfig(**options)
    optimizer = build_optimizer(train, network)
    optimizer.build(network.trainable_variables)
    arrays = [v for v in optimizer.variables if len(v.shape)]
    real = sum(4 * int(np.prod(v.shape)) for v in arrays)
    assert {v.dtype for v in arrays} <= {"float32"}, "4 bytes each"
    planned = memory_of(config.costs(), config, train, devices=1).optimizer
    assert planned == real


class Halving(keras.optimizers.Optimizer):
    """A Keras optimizer of somebody's own: moves each weight by half of the learning rate."""

    def __init__(
        self, learning_rate=0.1, momentum=0.0, weight_decay=None, name="halving", **kwargs
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        self.momentum = momentum

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, 0.5 * learning_rate * tf.sign(gradient))


def test_an_optimizer_of_somebody_else_is_registered(monkeypatch):
    monkeypatch.setattr(OPTIMIZERS, "_registered", dict(OPTIMIZERS._registered))

    @tfscale.register
    class Declared(tfscale.OptimizerSpec):
        name, summary = "halving", "half of the learning rate"
        keras_class = f"{__name__}.Halving"
        defaults = {"weight_decay": 0.0, "momentum": 0.25}
        slots = 0
        learning_rate_factor = 2.0

    assert OPTIMIZERS.names()[-1] == "halving"
    config = TrainConfig(optimizer="halving", warmup_steps=0)
    network = models.build_network(CONFIGS["transformer"])
    optimizer = build_optimizer(config, network)
    assert (type(optimizer), optimizer.momentum) == (Halving, 0.25)
    before = network.token_embedding.embeddings.numpy()
    model = LanguageModel(network)
    model.compile(optimizer, xla=False)
    model.fit(*make_windows(16), batch_size=16, verbose=0)
    moved = np.abs(network.token_embedding.embeddings.numpy() - before)
    assert moved.max() == pytest.approx(1e-3, rel=1e-5)  # half of 2 x the family's 1e-3
    with pytest.raises(
        ConfigError, match="train.momentum=0.5 is no option of train.optimizer=adamw; .* halving"
    ):
        TrainConfig(optimizer="adamw", momentum=0.5)
    memory = memory_of(network.config.costs(), network.config, config, devices=1)
    assert memory.optimizer == 0


def test_a_wrong_declaration_is_one_line(monkeypatch):
    monkeypatch.setattr(OPTIMIZERS, "_registered", dict(OPTIMIZERS._registered))

    def declared(**attributes):
        summary = {"summary": "no such"}
        return type("Wrong", (tfscale.OptimizerSpec,), {"name": "wrong", **summary, **attributes})

    with pytest.raises(ConfigError, match="Wrong lacks keras_class; see OptimizerSpec"):
        tfscale.register(declared())
    known = "keras.optimizers.SGD"
    with pytest.raises(
        ConfigError, match="offers the option speed, which TrainConfig has not; there are"
    ):
        tfscale.register(declared(keras_class=known, defaults={"speed": 1.0}))
    network = models.build_network(CONFIGS["lstm"])
    for attributes, message in (
        (
            {"keras_class": "keras.optimizers.Nothing"},
            "declared as keras.optimizers.Nothing, which cannot",
        ),
        (
            {"keras_class": known, "defaults": {"rho": 0.5, "weight_decay": 0.0}},
            "declared with rho, which",
        ),
    ):
        tfscale.register(declared(**attributes))
        with pytest.raises(ConfigError, match=message):
            build_optimizer(TrainConfig(optimizer="wrong"), network)


def test_build_optimizer_is_public_and_takes_any_network():
    optimizer = tfscale.build_optimizer(TrainConfig(learning_rate=0.1), gru_network())
    assert isinstance(optimizer, keras.optimizers.AdamW)
    with pytest.raises(
        ConfigError, match="learning_rate=0.0 is out of range; expected more than 0"
    ):
        tfscale.build_optimizer(TrainConfig(), gru_network())
