"""Exports with rounding=learned: windows of the training text, the file, and what is refused."""

import dataclasses
import json
import os

import numpy as np
import pytest
import yaml

from tests.exporting.exported import CONFIGS, make_network, make_run
from tfscale.config import ExportConfig, PrepareConfig, TrainConfig
from tfscale.data.prepare import prepare
from tfscale.data.tokens import split_stream
from tfscale.device import load
from tfscale.errors import ConfigError, DataError, ExportError
from tfscale.exporting.calibration import UNSEEN_WINDOWS, calibration_text, learned_for
from tfscale.exporting.export import export_run
from tfscale.exporting.learned_rounding import LearnedRounding
from tfscale.exporting.rounded import rounded_in_place
from tfscale.models import build_network
from tfscale.models.documents import Documents

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


def read(run, count, seed=0):
    config = config_of("x", calibration_windows=count, calibration_seed=seed)
    batches = calibration_text(run, config).training().take(2)
    return np.concatenate([inputs for inputs, *_ in batches]).tolist()


def test_the_text_is_that_of_the_training_and_follows_the_seed(run, data):
    first = read(run, 16)
    stream = run.tokenizer.as_inputs(split_stream(data, "train")).tolist()
    windows = {tuple(stream[i : i + 15]) for i in range(len(stream) - 14)}
    assert {tuple(row[1:]) for row in first} <= windows
    assert read(run, 16) == first != read(run, 16, seed=1)


@pytest.mark.slow
def test_losses_are_those_of_packed_rows_whose_documents_are_kept_apart(tmp_path, tokenizer, data):
    """By NumPy, with places left at the end of rows, which have no weight."""
    packed = TrainConfig(document_mask=True, packing="best_fit")
    run = make_run(tmp_path / "run", make_network("transformer"), tokenizer, data)
    run = dataclasses.replace(run, train_config=packed)
    reading = calibration_text(run, config_of("x", calibration_windows=8))
    rounded = learned_for(reading, run.network, config_of("x", calibration_windows=8))
    apart, losses, left = Documents(tokenizer.start_id, "restart", tokenizer.end_id), [], 0
    for ids, targets, weights in reading.training().take(9).skip(1):
        with rounded_in_place(run.network, "int4"):
            hidden = run.network.hidden_states(ids, documents=apart.beside(targets))
            logits = run.network.project(hidden).numpy().astype(np.float64)
        highest = logits.max(axis=-1, keepdims=True)
        total = np.log(np.exp(logits - highest).sum(axis=-1)) + highest[..., 0]
        nll = total - np.take_along_axis(logits, targets.numpy()[..., None], -1)[..., 0]
        kept = weights.numpy()
        losses += list((nll * kept).sum(axis=1) / kept.sum(axis=1))
        left += int(np.sum(kept == 0))
    assert left > 10
    np.testing.assert_allclose(rounded.nearest, losses, rtol=1e-4)


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


@pytest.mark.slow
def test_a_file_with_a_state_has_them_too(tmp_path, tokenizer, data):
    config = dataclasses.replace(CONFIGS["lstm"], embedding_dim=32, hidden_dim=32)
    run = make_run(tmp_path / "run", build_network(config, seed=0), tokenizer, data)
    report = export_run(run, config_of(tmp_path / "export", quantize="int4_all"))
    change = next(c for c in report["checks"] if c["name"] == "loss_change_by_learned_rounding")
    assert change["value"] < 0


@pytest.mark.slow
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


@pytest.mark.parametrize("count", [0, 12])
def test_windows_are_whole_updates(count):
    with pytest.raises(
        ConfigError, match="calibration_windows=.* is out of range; expected a multiple of 8"
    ):
        config_of("x", calibration_windows=count)


def test_fewer_windows_than_asked_for(run, tmp_path, data):
    most = len(split_stream(data, "train")) // 16 // 8 * 8 - UNSEEN_WINDOWS
    with pytest.raises(ConfigError, match=r"expected at most \d+, .*received 8000$") as raised:
        export_run(run, config_of(tmp_path / "export", calibration_windows=8000))
    named = int(str(raised.value).split("at most ")[1].split(",")[0])
    assert abs(named - most) <= 32 and named % 8 == 0
    assert not os.path.exists(tmp_path / "export")
    calibration_text(run, config_of("x", calibration_windows=named))


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
