"""What a file of options says of a model's training, in a comparison whose budget decides the steps."""

import dataclasses

import pytest

from tfscale.config import GRUConfig, TrainConfig
from tfscale.config.comparison import CompareConfig
from tfscale.errors import ConfigError
from tfscale.workflows import compare as comparing

MODEL = GRUConfig(vocabulary_size=9, sequence_length=10)


@pytest.mark.parametrize(
    "given,expected",
    [
        ({}, {"warmup_steps": 50, "validate_every": 100, "checkpoint_every": 250, "seed": 2}),
        (
            {"warmup_steps": 7, "validate_every": 20, "seed": 2, "clip_norm": 0.5},
            {"warmup_steps": 7, "validate_every": 20, "checkpoint_every": 250, "clip_norm": 0.5},
        ),
    ],
)
def test_the_budget_leaves_what_a_file_says(tmp_path, given, expected):
    (tmp_path / "gru").mkdir()
    config = CompareConfig(data="d", output=str(tmp_path), budget_tokens=100_000, seed=2)
    training = TrainConfig(steps=3, global_batch_size=10, **given)
    run = str(tmp_path / "gru" / "run")
    made = comparing._with_budget(run, MODEL, training, config, print, "gru")
    assert dataclasses.asdict(made).items() >= {"steps": 1000, **expected}.items()


def test_a_seed_of_one_model_alone_is_refused(tmp_path, monkeypatch):
    class Data:
        splits = {"test": None}

        def split(self, name):
            return None

    monkeypatch.setattr(comparing.Manifest, "load", lambda path: Data())
    monkeypatch.setattr(comparing, "batches_per_epoch", lambda *_: 1)
    monkeypatch.setattr(comparing, "fit_to_data", lambda model, _: model)
    config = CompareConfig(data="d", output=str(tmp_path / "o"), budget_tokens=1000, seed=2)
    with pytest.raises(ConfigError, match="mine has train.seed=5, and all models .* --seed 5"):
        comparing.compare({"mine": (MODEL, TrainConfig(seed=5))}, config)
    assert not (tmp_path / "o").exists()
