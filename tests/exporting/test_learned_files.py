"""Exports with rounding=learned: windows of the training text, the file, and what is refused."""

import dataclasses
import json
import os

import numpy as np
import pytest
import yaml

from tests.exporting.exported import CONFIGS, make_network, make_run
from tfscale.config import ExportConfig, PrepareConfig
from tfscale.data.prepare import prepare
from tfscale.data.tokens import split_stream
from tfscale.device import load
from tfscale.errors import ConfigError, DataError, ExportError
from tfscale.exporting.calibration import UNSEEN_WINDOWS, calibration_windows
from tfscale.exporting.export import export_run
from tfscale.exporting.learned_rounding import LearnedRounding
from tfscale.models import build_network

WORDS = "the quick brown fox jumps over the lazy dog and runs home to sleep".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    rng = np.random.default_rng(0)
    text = "\n\n".join(" ".join(rng.choice(WORDS, 12)) for _ in range(120))
    (folder / "text.txt").write_text(text, encoding="utf-8")
    config = PrepareConfig(
        output=str(folder / "data"),
        text=[str(folder / "text.txt")],
        documents="paragraph",
        tokenizer="byte",
        validation_fraction=0.2,
        test_fraction=0.0,
    )
    prepare(config)
    return config.output


@pytest.fixture
def run(tmp_path, tokenizer, data):
    return make_run(tmp_path / "run", make_network("transformer"), tokenizer, data)


def config_of(folder, **options):
    chosen = {"quantize": "int4", "rounding": "learned"}
    chosen |= {"calibration_windows": 64, "parity_tokens": 32}
    return ExportConfig(output=str(folder), **(chosen | options))


def windows_of(run, count, seed=0):
    config = config_of("x", calibration_windows=count, calibration_seed=seed)
    return calibration_windows(run, config)


def test_windows_are_of_the_training_split_and_follow_the_seed(run, data):
    train = split_stream(data, "train")
    whole = [tuple(train[i : i + 17]) for i in range(0, (len(train) - 1) // 16 * 16, 16)]
    windows, unseen = windows_of(run, 20)
    assert windows.inputs.shape == (20, 16) and unseen.targets.shape == (UNSEEN_WINDOWS, 16)
    again, others = windows_of(run, 20)[0], windows_of(run, 20, seed=1)[0]
    assert again.inputs.tolist() == windows.inputs.tolist() != others.inputs.tolist()
    # Both together are the split itself: no window comes twice. What begins a document is read as
    # the start token, and stays the end token as a target.
    parts = windows_of(run, len(whole) - UNSEEN_WINDOWS)
    targets = [tuple(row) for part in parts for row in part.targets]
    assert sorted(targets) == sorted(row[1:] for row in whole)
    inputs = [tuple(row) for part in parts for row in part.inputs]
    read = [tuple(run.tokenizer.as_inputs(row[:-1])) for row in whole]
    assert sorted(inputs) == sorted(read)


def test_the_file_has_the_numbers_that_were_learned(run, tmp_path, monkeypatch):
    learned = {}
    numbers = LearnedRounding.numbers

    def kept(rounding):
        learned.update(numbers(rounding))
        return learned

    monkeypatch.setattr(LearnedRounding, "numbers", kept)
    stages = []
    report = export_run(run, config_of(tmp_path / "learned"), note=stages.append)
    assert stages.index("learn how to round") < stages.index("convert")
    assert len(learned) == 8
    assert report["rounding"]["calibration_windows"] == 64
    assert report["rounding"]["loss"]["learned"] < report["rounding"]["loss"]["nearest"]
    # The run's own weights are as they were.
    fresh = make_network.__wrapped__("transformer")
    for weight, expected in zip(run.network.weights, fresh.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected.numpy())
    # The file computes with them, and the other file with others.
    export_run(run, config_of(tmp_path / "nearest", rounding="nearest"))
    for weight in run.network.weights:
        if weight.path in learned:
            weight.assign(learned[weight.path])
    try:
        expected = run.network(np.int32([[5, 6, 7]])).numpy()[0, -1]
    finally:
        for weight, value in zip(run.network.weights, fresh.weights, strict=True):
            weight.assign(value)
    gaps = {
        name: np.abs(load(str(tmp_path / name)).decoder().feed([5, 6, 7]) - expected).max()
        for name in ("learned", "nearest")
    }
    assert gaps["learned"] < 0.1 * gaps["nearest"]
    with open(tmp_path / "learned" / "parity.json", encoding="utf-8") as file:
        assert json.load(file)["rounding"] == report["rounding"]


def test_a_file_with_a_state_has_them_too(tmp_path, tokenizer, data):
    config = dataclasses.replace(CONFIGS["lstm"], embedding_dim=32, hidden_dim=32)
    run = make_run(tmp_path / "run", build_network(config, seed=0), tokenizer, data)
    report = export_run(run, config_of(tmp_path / "export", quantize="int4_all"))
    change = next(c for c in report["checks"] if c["name"] == "loss_change_by_learned_rounding")
    assert change["value"] < 0


def test_rounding_that_makes_text_less_likely_is_not_written(run, tmp_path, monkeypatch):
    values = iter([np.zeros(64), np.linspace(0, 1, 64)])
    monkeypatch.setattr(LearnedRounding, "losses", lambda *_: next(values))
    with pytest.raises(ExportError, match="loss_change_by_learned_rounding is 0.5, .* <= 0.07388"):
        export_run(run, config_of(tmp_path / "export"))
    assert not os.path.exists(tmp_path / "export")


@pytest.mark.parametrize("quantize", ["none", "float16", "int8"])
def test_other_recipes_are_refused(quantize):
    with pytest.raises(ConfigError, match="rounding: learned is for quantize=int4 and int4_all"):
        config_of("x", quantize=quantize)


def test_no_windows_are_refused():
    with pytest.raises(ConfigError, match="calibration_windows"):
        config_of("x", calibration_windows=0)


def test_fewer_windows_than_asked_for(run, tmp_path, data):
    most = (len(split_stream(data, "train")) - 1) // 16 - UNSEEN_WINDOWS
    with pytest.raises(ConfigError, match=f"expected at most {most}, .*received {most + 1}$"):
        export_run(run, config_of(tmp_path / "export", calibration_windows=most + 1))
    assert not os.path.exists(tmp_path / "export")


def test_without_its_training_text(tmp_path, tokenizer):
    network = make_network("transformer")
    run = make_run(tmp_path / "run", network, tokenizer)
    with pytest.raises(
        DataError, match="needs the training text of the run, and .* no data folder"
    ):
        export_run(run, config_of(tmp_path / "export"))
    other = make_run(tmp_path / "other", network, tokenizer, str(tmp_path / "nothing"))
    with pytest.raises(DataError, match="needs the training text of the run: "):
        export_run(other, config_of(tmp_path / "export"))


def test_a_run_that_was_trained_to_be_rounded_is_refused(run, tmp_path):
    path = os.path.join(run.directory, "config.yaml")
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump({"model": {"family": "transformer"}, "quantize": {"recipe": "int4"}}, file)
    with pytest.raises(ConfigError, match="expected nearest for .*learned to be rounded so"):
        export_run(run, config_of(tmp_path / "export"))
