"""A run that goes on longer: the state is that of a run that was never stopped, bit for bit."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.slow import slow_but
from tfscale import cli
from tfscale.config import PrepareConfig, TrainConfig, TransformerConfig
from tfscale.data.manifest import Manifest
from tfscale.data.prepare import prepare
from tfscale.errors import CheckpointError, ConfigError
from tfscale.runs.folder import load_run
from tfscale.runs.train import train
from tfscale.training.checkpoint import read_arrays

MODEL = TransformerConfig(sequence_length=16, hidden_dim=8, num_layers=1, num_heads=2, dropout=0.1)
TRAIN = TrainConfig(
    global_batch_size=4,
    warmup_steps=2,
    validate_every=4,
    checkpoint_every=5,
    log_every=3,
    xla="off",
    ema_decay=0.5,
    tensorboard=False,
    learning_rate=1e-2,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("longer")
    lines = [f"{a} cat sat on {b} mat {k}.\n" for a in "abc" for b in "def" for k in range(20)]
    (folder / "text.txt").write_text("".join(lines))
    config = PrepareConfig(
        text=[str(folder / "text.txt")],
        documents="line",
        tokenizer="byte",
        output=str(folder / "data"),
        validation_fraction=0.1,
        test_fraction=0.0,
    )
    prepare(config, progress=False)
    return str(folder / "data")


def trained(data, output, **options):
    config = dataclasses.replace(TRAIN, **options)
    return train(MODEL, config, data=data, output=str(output), progress=False)


def states(output):
    """Steps of the checkpoints, and the arrays of each file."""
    folder = Path(output, "checkpoints")
    return {path.name: read_arrays(str(path))[0] for path in sorted(folder.iterdir())}


def assert_same_state(one, other, step):
    name = f"step-{step:08d}.npz"
    one, other = states(one)[name], states(other)[name]
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(other[key], value, err_msg=key)


def losses(output):
    with open(Path(output, "history.jsonl")) as file:
        entries = [json.loads(line) for line in file]
    return {entry["step"]: entry["val_loss"] for entry in entries if "val_loss" in entry}


@pytest.mark.parametrize(
    "schedule",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("constant", "inverse_sqrt")), "wsd"],
)
def test_a_finished_run_goes_on_bit_for_bit(data, tmp_path, schedule, capsys):
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    expected = trained(data, whole, schedule=schedule, steps=24)
    first = trained(data, longer, schedule=schedule, steps=12)
    assert first["completed"] and load_run(str(longer)).train_config.steps == 12
    kept = {"wsd": {"stable-00000010.npz", "stable-best.npz"}}.get(schedule, set())
    assert {name for name in states(longer) if name.startswith("stable")} == kept
    summary = trained(data, longer, schedule=schedule, steps=24)
    assert (summary["steps"], summary["tokens"], summary["completed"]) == (24, 24 * 64, True)
    assert_same_state(whole, longer, 24)
    assert {step: losses(longer)[step] for step in losses(whole)} == losses(whole)
    assert summary["validation"] == expected["validation"]
    assert load_run(str(longer)).train_config.steps == 24
    # And once more, which is beyond the decay of the second.
    trained(data, longer, schedule=schedule, steps=30)
    trained(data, whole, schedule=schedule, steps=30)
    assert_same_state(whole, longer, 30)


@pytest.mark.slow
def test_a_decay_of_a_number_of_steps_goes_on_too(data, tmp_path):
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    options = {"schedule": "wsd", "decay_steps": 5}
    trained(data, whole, steps=20, **options)
    trained(data, longer, steps=11, **options)
    assert "stable-00000006.npz" in states(longer)
    trained(data, longer, steps=20, **options)
    assert_same_state(whole, longer, 20)


@pytest.mark.slow
def test_what_was_best_in_a_decay_that_was_undone_is_forgotten(data, tmp_path, monkeypatch):
    """The validation after the decay is the lowest; the longer run has not been there."""
    values = iter([3.0, 2.5, 0.1, 0.1, 2.0, 1.9, 1.8, 1.8])
    monkeypatch.setattr(
        "tfscale.runs.train.LanguageModel.summed_loss",
        lambda *_, **__: (next(values, 9.0) * 10, 10.0),
    )
    options = {"schedule": "wsd", "ema_decay": 0.0}
    first = trained(data, tmp_path / "run", steps=12, **options)
    assert (first["result"], first["result_step"]) == ("best", 12)
    second = trained(data, tmp_path / "run", steps=20, **options)
    assert (second["result"], second["result_step"]) == ("best", 20)
    assert list(losses(tmp_path / "run").values()) == [3.0, 2.5, 2.0, 1.9, 1.8]


@pytest.mark.parametrize("schedule", slow_but(["cosine", "linear"], "cosine"))
def test_others_are_refused_in_one_line_that_says_which_go_on(data, tmp_path, schedule, capsys):
    output = tmp_path / "run"
    trained(data, output, schedule=schedule, steps=3)
    before = states(output)
    with pytest.raises(ConfigError) as error:
        trained(data, output, schedule=schedule, steps=6)
    assert str(error.value) == (
        f"run {output} was begun with train.steps=3, now it is 6; give the same value to resume, or"
        f" another --output with --start {output} to train its model further (with"
        f" train.schedule={schedule} each step depends on their number; runs of constant,"
        " inverse_sqrt, wsd go on longer)"
    )
    assert states(output).keys() == before.keys()
    assert yaml.safe_load((output / "config.yaml").read_text())["train"]["steps"] == 3


def test_a_length_that_does_not_fit_is_refused_before_anything_is_written(data, tmp_path):
    output = tmp_path / "run"
    trained(data, output, schedule="constant", steps=6)
    with pytest.raises(ConfigError, match="goes on from step 6, which is beyond 4 steps; give"):
        trained(data, output, schedule="constant", steps=4)
    trained(data, tmp_path / "wsd", schedule="wsd", steps=20)
    message = "goes on from step 16, and with 18 steps train.schedule=wsd comes down from step 14"
    with pytest.raises(ConfigError, match=message):
        trained(data, tmp_path / "wsd", schedule="wsd", steps=18)
    with pytest.raises(ConfigError, match="train.schedule='wsd', now it is 'constant'"):
        trained(data, tmp_path / "wsd", schedule="constant", steps=40)
    names = set(states(tmp_path / "wsd"))
    assert {"stable-00000016.npz", "step-00000020.npz"} <= names
    kept = tmp_path / "wsd" / "checkpoints" / "stable-00000016.npz"
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    with pytest.raises(CheckpointError, match="stable-00000016.npz is damaged"):
        trained(data, tmp_path / "wsd", schedule="wsd", steps=40)
    assert {path.name for path in kept.parent.iterdir()} == names


def test_parameter_servers_take_no_minutes(data, tmp_path, monkeypatch):
    monkeypatch.setattr("tfscale.runs.train.is_asynchronous", lambda strategy: True)
    with pytest.raises(ConfigError, match="train.minutes=0.5 is not for parameter servers, where"):
        trained(data, tmp_path / "run", minutes=0.5)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_of_an_earlier_version_goes_on(data, tmp_path):
    """It wrote a final learning rate down for a constant one, and knew neither epochs nor minutes."""
    whole, old = tmp_path / "whole", tmp_path / "old"
    trained(data, whole, schedule="constant", steps=9)
    trained(data, old, schedule="constant", steps=5)
    path = old / "config.yaml"
    written = yaml.safe_load(path.read_text())
    for name in ("epochs", "minutes", "decay_steps", "decay_fraction"):
        del written["train"][name]
    written["train"]["final_learning_rate_fraction"] = 0.1
    path.write_text(yaml.safe_dump(written, sort_keys=False))
    assert load_run(str(old)).train_config.schedule == "constant"
    words = ["train", str(path), "--data", data, "--output", str(old), "--train.steps", "9"]
    assert cli.main(words) == 0
    assert_same_state(whole, old, 9)


@pytest.mark.parametrize(
    "epochs,per_batch",
    [*(pytest.param(epochs, 4, marks=pytest.mark.slow) for epochs in (2, 0.5)), (0.5, 8)],
)
def test_epochs_are_steps_of_the_data(data, tmp_path, epochs, per_batch):
    windows = sum(shard.tokens // 16 for shard in Manifest.load(data).split("train").shards)
    summary = trained(
        data, tmp_path / "run", epochs=epochs, global_batch_size=per_batch, validate_every=1000
    )
    steps = summary["steps"]
    assert steps == pytest.approx(epochs * windows / per_batch, abs=2)
    assert summary["epochs"] == pytest.approx(epochs, abs=0.02) and summary["completed"]
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["train"]
    assert (config["epochs"], config["steps"]) == (epochs, None)
    assert load_run(str(tmp_path / "run")).train_config.epochs == epochs
    # The same steps, said otherwise: another run, and the same weights.
    trained(data, tmp_path / "same", steps=steps, global_batch_size=per_batch, validate_every=1000)
    assert_same_state(tmp_path / "run", tmp_path / "same", steps)


@pytest.mark.slow
def test_epochs_are_as_many_steps_on_two_replicas(data, tmp_path):
    alone = trained(data, tmp_path / "alone", epochs=0.25, strategy="single")
    both = trained(data, tmp_path / "both", epochs=0.25, strategy="mirrored")
    assert alone["steps"] == both["steps"] and alone["epochs"] == both["epochs"]


@pytest.mark.slow
def test_epochs_are_said_and_go_on(data, tmp_path, capsys):
    words = ["train", "--data", data, "--output", str(tmp_path / "run"), "--model.hidden_dim=8"]
    words += ["--model.num_layers=1", "--model.num_heads=2", "--model.sequence_length=16"]
    words += ["--train.schedule=constant", "--train.xla=off", "--train.tensorboard=false"]
    assert cli.main([*words, "--train.epochs", "0.25", "--json"]) == 0
    captured = capsys.readouterr()
    steps = json.loads(captured.out.splitlines()[-1])["steps"]
    assert f"train: 0.25 epochs are {steps} steps of 32 windows\n" in captured.err
    assert cli.main([*words, "--train.epochs", "0.5", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["steps"] == pytest.approx(2 * steps, abs=1)
    assert f"going on at step {steps:,}" in captured.err


@pytest.mark.slow  # By the clock, which a busy machine may let run out before the first step.
def test_minutes_end_the_run_and_nothing_is_left_to_do(data, tmp_path):
    seconds = 12.0
    options = {"minutes": seconds / 60, "schedule": "wsd", "decay_fraction": 0.5}
    summary = trained(data, tmp_path / "run", **options)
    assert summary["completed"] and summary["steps"] > 10
    assert seconds * 0.9 < summary["seconds"]
    with open(tmp_path / "run" / "history.jsonl") as file:
        rates = [e["learning_rate"] for e in map(json.loads, file) if "learning_rate" in e]
    assert rates[-1] == pytest.approx(0.0, abs=1e-7) and max(rates) == pytest.approx(1e-2)
    steps = sorted(
        int(name[-12:-4])
        for name in states(tmp_path / "run")
        if name != "best.npz" and name != "stable-best.npz"
    )
    assert steps[-1] == summary["steps"]
    again = trained(data, tmp_path / "run", **options)
    assert again == summary
    shutil.copytree(tmp_path / "run", tmp_path / "more")
    more = trained(data, tmp_path / "more", **{**options, "minutes": 2 * seconds / 60})
    assert more["completed"] and more["steps"] > summary["steps"]
    assert 2 * seconds * 0.9 < more["seconds"]


@pytest.mark.slow
def test_minutes_that_were_used_count_after_a_stop(data, tmp_path, monkeypatch):
    """Stopped by a signal after some steps, and ended by the same command."""
    from tests.runs.test_run import StopAt
    from tfscale.runs.recorder import RunRecorder

    options = {"minutes": 0.2}
    monkeypatch.setattr(StopAt, "stop", 20)
    monkeypatch.setattr("tfscale.runs.train.RunRecorder", StopAt)
    first = trained(data, tmp_path / "run", **options)
    assert first["interrupted"] == "SIGTERM" and not first["completed"]
    monkeypatch.setattr("tfscale.runs.train.RunRecorder", RunRecorder)
    second = trained(data, tmp_path / "run", **options)
    assert second["completed"] and second["seconds"] > max(first["seconds"], 0.9 * 12)
    with open(tmp_path / "run" / "history.jsonl") as file:
        rates = [e["learning_rate"] for e in map(json.loads, file) if "learning_rate" in e]
    assert rates[-1] == pytest.approx(1e-3)
    assert os.path.exists(tmp_path / "run" / "model.keras")
