"""The optimizer that a training has where none is named: the family's, and on parameter servers one that is right there."""

import json

import keras
import pytest
import tensorflow as tf
import yaml

import tfscale
from tests.slow import slow_but
from tests.training.tiny import LENGTH, VOCABULARY
from tfscale import models
from tfscale.config import PrepareConfig, RNNConfig, TrainConfig, TransformerConfig
from tfscale.config.models import network_families
from tfscale.data.prepare import prepare
from tfscale.errors import ConfigError
from tfscale.planning.plan import memory_of
from tfscale.registry import OPTIMIZERS
from tfscale.training.muon import Muon
from tfscale.training.optimizers import build_optimizer

CONFIG = TransformerConfig(
    vocabulary_size=VOCABULARY, sequence_length=LENGTH, hidden_dim=8, num_layers=1, num_heads=2
)
WHOLE = "optimizer adamw: muon, the default of the family transformer, looks at whole weights"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "text.txt").write_text("".join(f"a cat saw {n} dogs\n" for n in range(99)))
    output = str(folder / "data")
    prepare(PrepareConfig(text=[str(folder / "text.txt")], output=output, tokenizer="byte"))
    return output


class Servers(tf.distribute.ParameterServerStrategy):
    def __init__(self):
        pass


def test_the_optimizer_is_the_one_that_is_named_or_the_family_s():
    for options, servers, expected in (
        ({}, False, "muon"),
        ({}, True, "adamw"),
        ({"optimizer": "muon"}, True, "muon"),  # refused when it is built
        ({"optimizer": "lion"}, False, "lion"),
        ({"optimizer": "adamw"}, True, "adamw"),
    ):
        config = TrainConfig(**options)
        assert config.optimizer_for(CONFIG, by_entries=servers) == expected
        filled = config.for_model(CONFIG, by_entries=servers)
        assert filled.optimizer == expected
        spec = OPTIMIZERS.get(expected)
        assert filled.learning_rate == pytest.approx(1e-3 * spec.learning_rate_factor)
        assert {name: getattr(filled, name) for name in spec.defaults} == spec.defaults


def test_families_that_are_trained_by_muon():
    for name, config_class in network_families().items():
        config = TrainConfig().for_model(config_class(vocabulary_size=9))
        by_muon = name in ("transformer", "lstm", "gru")
        assert config.optimizer == ("muon" if by_muon else "adamw")
        assert pytest.approx(config.learning_rate) == {
            "transformer": 1e-2,
            "lstm": 3e-2,
            "gru": 1.5e-2,
            "rnn": 5e-3,
            "bilstm": 5e-3,
        }.get(name, 1e-3)


def test_options_are_checked_with_the_optimizer_that_they_are_for():
    # Without a model nobody knows whether they belong to it, and values out of all ranges are wrong
    # with any.
    options = TrainConfig(momentum=0.5)
    assert options.for_model(CONFIG).momentum == 0.5
    message = (
        "train.momentum=0.5 is no option of train.optimizer=adamw, the default of the family rnn;"
        " it belongs to muon, rmsprop, sgd"
    )
    with pytest.raises(ConfigError, match=message):
        options.for_model(RNNConfig())
    with pytest.raises(
        ConfigError, match="train.beta_1=0.5 is no option of train.optimizer=muon, "
    ):
        TrainConfig(beta_1=0.5).for_model(CONFIG)
    with pytest.raises(ConfigError, match="train.beta_1=1.5 is out of range"):
        TrainConfig(beta_1=1.5)
    with pytest.raises(
        ConfigError, match="train.optimizer: expected one of .*muon.*received 'sdg'"
    ):
        TrainConfig(optimizer="sdg")


def test_a_network_is_trained_by_its_family_s_optimizer(monkeypatch, capsys):
    network = models.build_network(CONFIG)
    assert isinstance(build_optimizer(TrainConfig(), network), Muon)
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    assert isinstance(
        build_optimizer(TrainConfig(learning_rate=0.1), plain), keras.optimizers.AdamW
    )
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(tf.distribute, "get_strategy", Servers)
    assert isinstance(build_optimizer(TrainConfig(), network), keras.optimizers.AdamW)
    assert capsys.readouterr().err.startswith(f"{WHOLE}, which parameter servers cut")
    with pytest.raises(ConfigError, match="train.optimizer=muon looks at whole weights"):
        build_optimizer(TrainConfig(optimizer="muon"), network)


def test_the_plan_has_the_memory_of_the_family_s_optimizer():
    for options, name in (
        ({}, "muon"),
        ({"strategy": "parameter_server"}, "adamw"),
    ):
        planned, expected = (
            memory_of(CONFIG.costs(), CONFIG, TrainConfig(**given), devices=1).optimizer
            for given in (options, {"optimizer": name})
        )
        assert planned == expected
    assert planned == 4 * 2 * CONFIG.parameter_count()


@pytest.mark.parametrize(
    ("servers", "name", "rate"),
    slow_but([(False, "muon", "0.01"), (True, "adamw", "0.001")], (False, "muon", "0.01")),
)
def test_a_run_says_and_keeps_its_optimizer(
    servers, name, rate, data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("tfscale.runs.train.has_servers", lambda strategy: servers)
    config = TransformerConfig(sequence_length=16, hidden_dim=8, num_layers=1, num_heads=2)
    options = TrainConfig(steps=2, global_batch_size=4, strategy="single", tensorboard=False)
    tfscale.train(config, options, data=data, output=str(tmp_path / "run"))
    lines = capsys.readouterr().err
    assert f"optimizer {name}, peak learning rate {rate}" in lines
    assert (WHOLE in lines) == servers
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["train"]
    assert (kept["optimizer"], kept["learning_rate"]) == (name, float(rate))


def test_servers_are_known_before_there_is_a_strategy(monkeypatch):
    from tfscale.distribution.strategy import has_servers

    assert has_servers("parameter_server")
    assert not has_servers("auto")
    cluster = {"chief": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "chief", "index": 0}})
    )
    assert has_servers("auto")
    assert not has_servers("single")
