"""A run on packed rows: its length, what it says, that it goes on alike, and what it refuses."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from tests.gpt2 import gpt2
from tests.lines import prepared_lines
from tfscale import cli
from tfscale.config import BERTConfig, LSTMConfig, NGramConfig, TrainConfig
from tfscale.data.manifest import Manifest
from tfscale.data.packing.plan import packed_plan
from tfscale.errors import ConfigError
from tfscale.runs.folder import load_run
from tfscale.runs.reading import Reading
from tfscale.runs.train import train

pytestmark = pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis")
LENGTH = 32
MODEL = gpt2(sequence_length=LENGTH, hidden_dim=16, num_layers=1, num_heads=2, dropout=0.1)
TRAIN = TrainConfig(
    optimizer="adamw",
    steps=8,
    global_batch_size=4,
    warmup_steps=1,
    validate_every=8,
    checkpoint_every=3,
    log_every=4,
    learning_rate=3e-2,
    xla="off",
    tensorboard=False,
    document_mask=True,
    packing="best_fit",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Lines of 4 to 60 bytes, some of which are longer than a window."""
    return prepared_lines(tmp_path_factory.mktemp("packed"), shards=3)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("packed") / "run")
    return output, train(MODEL, TRAIN, data=data, output=output, progress=False)


@pytest.mark.slow
def test_an_epoch_trains_on_every_token_once(data, tmp_path, capsys):
    plan = packed_plan(data, Manifest.load(data), LENGTH, 4)
    config = dataclasses.replace(TRAIN, steps=None, epochs=1.0)
    summary = train(MODEL, config, data=data, output=str(tmp_path / "run"))
    assert summary["steps"] == plan.windows.steps == plan.rows_per_epoch // 4
    assert summary["epochs"] == 1
    split = Manifest.load(data).split("train")
    # What is counted, and what the speed is of, are tokens that have a weight.
    assert summary["tokens"] == split.tokens < plan.rows_per_epoch * LENGTH
    assert summary["packing"] == {
        "documents": split.documents,
        "documents_cut": plan.streams[0].cut,
        "rows_per_epoch": plan.rows_per_epoch,
        "fill_rate": split.tokens / (plan.rows_per_epoch * LENGTH),
    }
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    said = capsys.readouterr().err
    assert plan.describe() in said
    assert f"128 positions a step, {plan.windows.steps} steps a pass over the data" in said


def test_a_run_of_the_stream_says_nothing_of_it(data, tmp_path):
    config = dataclasses.replace(TRAIN, packing="stream", steps=2)
    summary = train(MODEL, config, data=data, output=str(tmp_path / "run"), progress=False)
    assert "packing" not in summary
    assert summary["tokens"] == 2 * 4 * LENGTH


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit(trained, data, tmp_path):
    """Of a constant rate, so that eight steps after four are eight steps."""
    output = str(tmp_path / "run")
    config = dataclasses.replace(TRAIN, schedule="constant")
    whole = str(tmp_path / "whole")
    train(MODEL, config, data=data, output=whole, progress=False)
    for steps in (4, 8):
        longer = dataclasses.replace(config, steps=steps)
        train(MODEL, longer, data=data, output=output, progress=False)
    assert load_run(output).weights_digest == load_run(whole).weights_digest


@pytest.mark.slow
def test_two_replicas_and_micro_batches_train_alike(trained, data, tmp_path):
    options = {"strategy": "mirrored", "micro_batches": 2}
    model = dataclasses.replace(MODEL, dropout=0.0)
    losses = []
    for number, changed in enumerate(({}, options)):
        config = dataclasses.replace(TRAIN, **changed)
        output = str(tmp_path / str(number))
        losses.append(train(model, config, data=data, output=output, progress=False)["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_run_keeps_its_packing(trained, data):
    output, _ = trained
    assert yaml.safe_load(Path(output, "config.yaml").read_text())["train"]["packing"] == "best_fit"
    config = dataclasses.replace(TRAIN, packing="stream")
    with pytest.raises(ConfigError, match="was begun with train.packing='best_fit', now it is 'st"):
        train(MODEL, config, data=data, output=output, progress=False)


def test_the_option_of_a_yaml_file(data, tmp_path, capsys):
    options = dataclasses.asdict(TRAIN) | {"steps": 2}
    written = {
        "model": {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "sequence_length": LENGTH},
        "train": {name: value for name, value in options.items() if value is not None},
        "data": data,
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(written))
    assert cli.main(["train", str(tmp_path / "train.yaml"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0.9 < summary["packing"]["fill_rate"] <= 1


def test_it_needs_documents_that_are_kept_apart():
    with pytest.raises(
        ConfigError, match="train.packing=best_fit puts .*needs train.document_mask=true"
    ):
        TrainConfig(packing="best_fit")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LSTMConfig(sequence_length=LENGTH, stateful=True), "model.stateful=True carries"),
        (BERTConfig(sequence_length=LENGTH), "BERT 'bert' reads both sides"),
    ],
    ids=["stateful", "bert"],
)
def test_what_cannot_is_refused_before_shards_are_read(model, message, data, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train(model, TRAIN, data=data, output=str(tmp_path / "run"), progress=False)
    assert not (tmp_path / "run").exists()


def test_parameter_servers_are_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr("tfscale.runs.train.is_asynchronous", lambda chosen: True)
    with pytest.raises(ConfigError, match="best_fit is not for parameter servers"):
        train(MODEL, TRAIN, data=data, output=str(tmp_path / "run"), progress=False)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_ngrams_take_no_packing(data, tmp_path):
    config = TrainConfig(document_mask=True, packing="best_fit")
    with pytest.raises(ConfigError, match="n-grams are counted, not trained: train.document_mask"):
        train(NGramConfig(), config, data=data, output=str(tmp_path / "run"), progress=False)


def test_workers_are_told_what_they_read(data):
    model = dataclasses.replace(MODEL, vocabulary_size=257)
    reading = Reading(data, Manifest.load(data), model, TRAIN)
    assert reading.describe(1) == ""
    assert reading.describe(2) == (
        "input: documents in 2 stretches of the text, each of which fills 2 of the 4 rows of every"
        " batch; worker 0 reads 1; worker 1 reads 1"
    )
