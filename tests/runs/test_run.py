"""A run from a data folder: what it writes, how it stops, and that it goes on bit for bit."""

import dataclasses
import json
import math
import os
import shutil
import signal
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests.slow import slow_but
from tfscale import cli
from tfscale.commands import train as train_command
from tfscale.config import LSTMConfig, PrepareConfig, TrainConfig, TransformerConfig
from tfscale.config.optimizer import OPTIONS
from tfscale.data.pipeline import evaluation_dataset
from tfscale.data.prepare import prepare
from tfscale.distribution.workers import Workers
from tfscale.errors import CheckpointError, ConfigError, DataError, TrainingError
from tfscale.files.paths import read_json_lines
from tfscale.files.run_lock import only_writer
from tfscale.runs import recorder as recorder_module
from tfscale.runs.folder import load_run
from tfscale.runs.recorder import RunRecorder
from tfscale.runs.train import train
from tfscale.training.checkpoint import Checkpoints, read_arrays, write_arrays

MODEL = TransformerConfig(sequence_length=16, hidden_dim=16, num_layers=1, num_heads=2, dropout=0.1)
TRAIN = TrainConfig(
    optimizer="adamw",
    steps=12,
    global_batch_size=4,
    warmup_steps=2,
    validate_every=6,
    checkpoint_every=3,
    log_every=4,
    xla="off",
    ema_decay=0.5,
    tensorboard=False,
    learning_rate=1e-2,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    text = folder / "text.txt"
    lines = (
        f"the {a} cat sat on the {b} mat, and {a} is not {b}.\n"
        for a in "red blue green".split()
        for b in "old new big small".split()
        for _ in range(8)
    )
    text.write_text("".join(lines))
    prepare(
        PrepareConfig(
            text=[str(text)],
            documents="line",
            tokenizer="byte",
            output=str(folder / "data"),
            validation_fraction=0.1,
            test_fraction=0.0,
            shards=2,
        ),
        progress=False,
    )
    return str(folder / "data")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run that was never stopped."""
    output = str(tmp_path_factory.mktemp("run") / "run")
    return output, train(MODEL, TRAIN, data=data, output=output, progress=False)


def history(output):
    with open(os.path.join(output, "history.jsonl")) as file:
        return [json.loads(line) for line in file]


def test_the_summary_is_right(finished, data):
    output, summary = finished
    assert summary == json.loads(Path(output, "summary.json").read_text())
    assert (summary["steps"], summary["tokens"], summary["completed"]) == (12, 12 * 4 * 16, True)
    assert summary["interrupted"] is None
    run = load_run(output)
    assert run.model_config == dataclasses.replace(
        MODEL, vocabulary_size=run.tokenizer.vocabulary_size
    )
    assert run.train_config == TRAIN.for_model(run.model_config)
    assert run.data_dir == os.path.abspath(data)
    nll = tokens = 0.0
    for ids, targets, weights in evaluation_dataset(
        data, "validation", sequence_length=16, batch_size=3
    ):
        logits = run.network(ids).numpy().astype("float64")
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        nll -= (
            np.take_along_axis(log_p, targets.numpy()[..., None], -1)[..., 0] * weights.numpy()
        ).sum()
        tokens += weights.numpy().sum()
    split = json.loads(Path(data, "manifest.json").read_text())["splits"]["validation"]
    scores = summary["validation"]
    assert scores["tokens"] == tokens == split["tokens"]
    assert scores["bytes"] == split["utf8_bytes"]
    assert scores["nll_per_token"] == pytest.approx(nll / tokens, abs=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(nll / tokens), rel=1e-5)
    assert scores["bits_per_byte"] == pytest.approx(
        nll / math.log(2) / split["utf8_bytes"], abs=1e-5
    )


def test_the_history_has_a_line_per_call_and_per_validation(finished):
    lines = history(finished[0])
    assert [line["step"] for line in lines] == [3, 6, 6, 9, 12, 12]
    assert [line["tokens"] for line in lines if "tokens" in line] == [192, 384, 576, 768]
    assert [("val_loss" in line) for line in lines] == [False, False, True, False, False, True]
    for line in lines:
        if "loss" in line:
            assert line["perplexity"] == pytest.approx(math.exp(line["loss"]))
            assert line["tokens_per_second"] == pytest.approx(192 / line["seconds"])
            assert 0 <= line["input_wait"] <= line["seconds"]


def test_the_run_folder_holds_what_the_design_says(finished):
    output, _ = finished
    names = [
        "checkpoints",
        "config.yaml",
        "history.jsonl",
        "model.keras",
        "summary.json",
        "tokenizer",
    ]
    assert sorted(os.listdir(output)) == names
    assert sorted(os.listdir(f"{output}/checkpoints")) == [
        "best.npz",
        "step-00000009.npz",
        "step-00000012.npz",
    ]
    config = yaml.safe_load(Path(output, "config.yaml").read_text())
    assert config["model"]["family"] == "transformer" and config["train"]["steps"] == 12


class StopAt(RunRecorder):
    """Sends this process a signal during the steps that end at `stop`."""

    stop, number = 0, signal.SIGTERM

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.runner.step.numpy()) < self.stop <= int(self.runner.step.numpy()) + 3:
            os.kill(os.getpid(), self.number)


def final_state(output):
    return read_arrays(f"{output}/checkpoints/step-00000012.npz")[0]


@pytest.mark.parametrize("number", slow_but([signal.SIGTERM, signal.SIGINT], signal.SIGTERM))
@pytest.mark.parametrize("stop", [5])
def test_a_stopped_run_goes_on_bit_for_bit(finished, data, tmp_path, monkeypatch, stop, number):
    monkeypatch.setattr(StopAt, "stop", stop)
    monkeypatch.setattr(StopAt, "number", number)
    monkeypatch.setattr("tfscale.runs.train.RunRecorder", StopAt)
    before = signal.getsignal(number)
    output = str(tmp_path / "run")
    summary = train(MODEL, TRAIN, data=data, output=output, progress=False)
    assert signal.getsignal(number) is before
    assert (summary["completed"], summary["interrupted"], summary["steps"]) == (
        False,
        number.name,
        6,
    )
    assert summary["validation"] is None
    monkeypatch.setattr("tfscale.runs.train.RunRecorder", RunRecorder)
    summary = train(MODEL, TRAIN, data=data, output=output, progress=False)
    assert (summary["completed"], summary["steps"], summary["tokens"]) == (True, 12, 768)
    whole, resumed = final_state(finished[0]), final_state(output)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    strip = [
        {k: v for k, v in line.items() if k in ("step", "loss", "tokens", "val_loss")}
        for line in history(output)
    ]
    steps = [line["step"] for line in strip]
    assert steps == sorted(steps) and strip[-1] == {
        k: v for k, v in history(finished[0])[-1].items() if k in ("step", "val_loss")
    }


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_less_memory(finished, data, tmp_path, monkeypatch):
    """Memory options may be set anew: the steps compute the same up to the order of sums."""
    monkeypatch.setattr(StopAt, "stop", 5)
    monkeypatch.setattr("tfscale.runs.train.RunRecorder", StopAt)
    output = str(tmp_path / "run")
    assert train(MODEL, TRAIN, data=data, output=output, progress=False)["steps"] == 6
    monkeypatch.setattr("tfscale.runs.train.RunRecorder", RunRecorder)
    saving = dataclasses.replace(TRAIN, remat=True, loss_chunk_tokens=24)
    assert train(MODEL, saving, data=data, output=output, progress=False)["steps"] == 12
    whole, resumed = final_state(finished[0]), final_state(output)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(resumed[name], value, atol=1e-4, err_msg=name)


def test_a_killed_run_goes_on_from_its_last_checkpoint_bit_for_bit(
    finished, data, tmp_path, monkeypatch
):
    """As after kill -9: the process ends between checkpoints, with lines in the history that will be done again."""

    class Killed(Exception):
        pass

    class Dies(RunRecorder):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if int(self.runner.step.numpy()) == 8:
                raise Killed

    monkeypatch.setattr("tfscale.runs.train.RunRecorder", Dies)
    output, config = str(tmp_path / "run"), dataclasses.replace(TRAIN, log_every=1)
    with pytest.raises(Killed):
        train(MODEL, config, data=data, output=output, progress=False)
    assert history(output)[-1]["step"] == 8
    monkeypatch.setattr("tfscale.runs.train.RunRecorder", RunRecorder)
    train(MODEL, TRAIN, data=data, output=output, progress=False)
    for name, value in final_state(finished[0]).items():
        np.testing.assert_array_equal(final_state(output)[name], value, err_msg=name)


def test_a_signal_to_another_worker_during_validation_stops_this_one_too(
    data, tmp_path, monkeypatch
):
    """This worker hears of it after the validation, writes a checkpoint of that very step, and says why it stopped."""
    signalled = []

    def validate(self, step, validate):
        signalled.append(step)
        RunRecorder._validate(self, step, validate)

    kind = type("Validating", (RunRecorder,), {"_validate": validate})
    monkeypatch.setattr("tfscale.runs.train.RunRecorder", kind)
    monkeypatch.setattr(Workers, "any", lambda self, flag: bool(flag or signalled))
    config = dataclasses.replace(TRAIN, validate_every=4, checkpoint_every=100)
    summary = train(MODEL, config, data=data, output=str(tmp_path / "run"), progress=False)
    assert (summary["steps"], summary["completed"], signalled) == (4, False, [4])
    assert summary["interrupted"] == "a signal to another worker"
    assert sorted(os.listdir(tmp_path / "run" / "checkpoints")) == ["best.npz", "step-00000004.npz"]


def test_rates_are_those_of_calls_that_do_not_compile():
    recorder = RunRecorder.__new__(RunRecorder)
    recorder._first, recorder._sums = (100.0, 50.0, 5.0), (0.0, 0.0, 0.0)
    assert recorder.rates() == (2.0, 0.1) and recorder.compiled_only
    recorder._sums = (300.0, 3.0, 0.3)
    assert recorder.rates() == (100.0, pytest.approx(0.1)) and not recorder.compiled_only


def test_a_history_that_was_cut_short_goes_on(finished, tmp_path):
    """Its last line is half one after a crash; the run may be on a remote file system."""
    with open(os.path.join(finished[0], "history.jsonl")) as file:
        whole = file.read()
    before = [entry for entry in map(json.loads, whole.splitlines()) if entry["step"] <= 6]
    for path in (str(tmp_path / "history.jsonl"), f"ram://{tmp_path.name}/history.jsonl"):
        with tf.io.gfile.GFile(path, "w") as file:
            file.write(whole + '{"step": 13, "lo')
        recorder = RunRecorder.__new__(RunRecorder)
        recorder._model = types.SimpleNamespace(workers=types.SimpleNamespace(is_chief=True))
        recorder.history_path = path
        recorder.checkpoints, recorder.progress = (
            Checkpoints(str(tmp_path)),
            types.SimpleNamespace(note=pytest.fail),
        )
        recorder.resume(6)
        assert read_json_lines(path) == before
        assert recorder.best_loss == min(
            entry["val_loss"] for entry in before if "val_loss" in entry
        )
        assert recorder.tokens == max(entry["tokens"] for entry in before if "tokens" in entry) > 0


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\n", b'{"step": "x"}\n', b"[]\n" * 3], ids=repr)
def test_a_damaged_log_changes_nothing_of_a_resume(finished, data, tmp_path, damage):
    """The best loss and the tokens are in the checkpoint: the state that comes out is that of a run with a whole log."""
    output = shutil.copytree(finished[0], tmp_path / "run")
    os.remove(output / "checkpoints" / "step-00000012.npz")
    (output / "history.jsonl").write_bytes(damage)
    (output / "summary.json").write_text("{")
    recorders = []
    checkpoints = Checkpoints(str(output / "checkpoints"))
    _, meta = read_arrays(checkpoints.path(9))
    checkpoints.restored = meta
    recorder = RunRecorder.__new__(RunRecorder)
    recorder._model = types.SimpleNamespace(workers=types.SimpleNamespace(is_chief=True))
    recorder.history_path = str(output / "history.jsonl")
    recorder.checkpoints, recorder.progress = (
        checkpoints,
        types.SimpleNamespace(note=recorders.append),
    )
    recorder.resume(9)
    first = next(line for line in history(finished[0]) if "val_loss" in line)
    assert recorder.best_loss == first["val_loss"] and recorder.tokens == 9 * 4 * 16
    assert len(recorders) == bool(damage)
    assert meta["figures"]["seconds"] > 0 and meta["figures"]["loss"] > 0


def test_a_run_that_is_being_trained_is_not_trained_by_another(finished, data, tmp_path):
    with only_writer(str(tmp_path / "run")):
        with pytest.raises(ConfigError, match=f"run is being trained by process {os.getpid()} on "):
            train(MODEL, TRAIN, data=data, output=str(tmp_path / "run"), progress=False)
    assert os.listdir(tmp_path) == []


def test_a_hangup_is_noted_as_sigterm_is_unless_it_is_ignored(monkeypatch):
    recorder = RunRecorder.__new__(RunRecorder)
    recorder.config, recorder._handlers = types.SimpleNamespace(tensorboard=False), {}
    recorder.interrupted, recorder._writer = None, None
    recorder.progress = types.SimpleNamespace(note=lambda text: None)
    recorder.on_train_begin()
    os.kill(os.getpid(), signal.SIGHUP)
    recorder.on_train_end()
    assert (
        recorder.interrupted == "SIGHUP"
        and train_command.exit_code({"interrupted": "SIGHUP"}) == 75
    )
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    recorder.on_train_begin()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    recorder.on_train_end()
    signal.signal(signal.SIGHUP, earlier)


def test_a_run_on_a_bucket_is_loaded_without_asking_for_it(finished, tmp_path, monkeypatch):
    output = shutil.copytree(finished[0], tmp_path / "run")
    config = yaml.safe_load((output / "config.yaml").read_text()) | {
        "data": "gs://some-bucket/data"
    }
    (output / "config.yaml").write_text(yaml.safe_dump(config))
    asked = []
    exists = tf.io.gfile.exists
    monkeypatch.setattr(tf.io.gfile, "exists", lambda path: asked.append(path) or exists(path))
    run = load_run(str(output))
    assert run.data_dir == "gs://some-bucket/data" and not any("://" in path for path in asked)


@pytest.mark.parametrize(
    "change,message",
    [
        (
            lambda config: config["train"].update(stepz=3),
            "config.yaml: train: unknown name 'stepz'",
        ),
        (
            lambda config: config["train"].update(steps="12"),
            "config.yaml: train: steps should be a whole number or null; rec",
        ),
        (
            lambda config: config.update(train=None),
            "config.yaml: train should hold names and values; received None",
        ),
        (
            lambda config: config.update(model=[1]),
            "config.yaml is not the config.yaml of a run: it has no section mod",
        ),
    ],
)
def test_a_damaged_configuration_is_one_line(finished, tmp_path, change, message):
    config = yaml.safe_load(Path(finished[0], "config.yaml").read_text())
    change(config)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "model.keras").write_bytes(b"")
    with pytest.raises(CheckpointError, match=message):
        load_run(str(tmp_path))


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "class"])
def test_a_damaged_network_is_one_line(finished, tmp_path, damage):
    output = shutil.copytree(finished[0], tmp_path / "run")
    path = output / "model.keras"
    content = bytearray(path.read_bytes())
    if damage == "class":
        content = content.replace(
            b'"class_name": "TransformerLM"', b'"class_name": "TransformerLN"'
        )
    else:
        content[len(content) // 2] ^= 1
        content = content[: {"bit": len(content), "cut": len(content) - 30, "empty": 0}[damage]]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="model.keras is damaged"):
        load_run(str(output))


def test_a_finished_run_is_left_as_it_is(finished, data):
    output, summary = finished
    weights = load_run(output).network.get_weights()
    again = train(MODEL, TRAIN, data=data, output=output, progress=False)
    assert again == summary
    assert all(
        (a == b).all() for a, b in zip(weights, load_run(output).network.get_weights(), strict=True)
    )


def test_a_model_without_checkpoints_is_not_trained_over(finished, data, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(finished[0], output, ignore=shutil.ignore_patterns("checkpoints"))
    before = (output / "model.keras").read_bytes()
    with pytest.raises(CheckpointError, match="has a model and no checkpoint to go on from"):
        train(MODEL, TRAIN, data=data, output=str(output), progress=False)
    assert (output / "model.keras").read_bytes() == before


def test_the_result_has_the_lowest_validation_loss(data, tmp_path, monkeypatch):
    losses = iter([3.0, 2.0, 4.0])
    monkeypatch.setattr(
        "tfscale.runs.train.LanguageModel.summed_loss",
        lambda *_, **__: (next(losses, 9.0) * 10, 10.0),
    )
    config = dataclasses.replace(TRAIN, steps=9, validate_every=3, ema_decay=0.0)
    summary = train(MODEL, config, data=data, output=str(tmp_path / "run"), progress=False)
    assert (summary["result"], summary["result_step"]) == ("best", 6)
    best = read_arrays(str(tmp_path / "run/checkpoints/best.npz"))[0]
    for weight, kept in zip(
        load_run(str(tmp_path / "run")).network.weights, best.values(), strict=True
    ):
        np.testing.assert_array_equal(weight.numpy(), kept)


@pytest.mark.parametrize(
    "model,changes,message",
    [
        (dataclasses.replace(MODEL, hidden_dim=32), {}, "model.hidden_dim=16, now it is 32"),
        (MODEL, {"learning_rate": 0.5}, "train.learning_rate=0.01, now it is 0.5"),
        (MODEL, {"steps": 20}, "train.steps=12, now it is 20"),
        # That a default has changed since is said to whom asked for the one of today.
        (MODEL, {"optimizer": "muon"}, "now it is 'muon'; .* its default has changed since"),
        (MODEL, {"optimizer": "sgd"}, "now it is 'sgd'; give the same value .* another --output$"),
        (MODEL, {"epsilon": 1e-6}, "train.epsilon=1e-08, now it is 1e-06"),
        (LSTMConfig(sequence_length=16), {}, "model.family='transformer', now it is 'lstm'"),
    ],
)
def test_a_run_is_not_resumed_as_another_one(finished, data, model, changes, message):
    config = dataclasses.replace(TRAIN, **changes)
    with pytest.raises(ConfigError, match=message):
        train(model, config, data=data, output=finished[0], progress=False)


def test_a_checkpoint_of_another_run_is_refused(finished, data, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(finished[0], output)
    before = (output / "model.keras").read_bytes()
    for name in ("step-00000012.npz", "best.npz"):  # As a run with another seed writes them.
        path = str(output / "checkpoints" / name)
        arrays, meta = read_arrays(path)
        meta["run"]["train"]["seed"] = 5
        write_arrays(path, {name: tf.constant(array) for name, array in arrays.items()}, meta)
    message = "step-00000012.npz belongs to another run, with train.seed=5, this one has 0; remove"
    with pytest.raises(CheckpointError, match=message):
        train(MODEL, TRAIN, data=data, output=str(output), progress=False)
    assert (output / "model.keras").read_bytes() == before
    # The best weights are the result of a run, too.
    os.remove(output / "checkpoints/step-00000012.npz")
    shutil.copy(f"{finished[0]}/checkpoints/step-00000012.npz", output / "checkpoints")
    summary = train(MODEL, TRAIN, data=data, output=str(output), progress=False)
    assert (summary["result"], summary["result_step"]) == ("last", 12)


def test_a_run_of_a_version_without_optimizers_goes_on(finished, data, tmp_path):
    """Its config.yaml has AdamW's numbers, and neither `optimizer` nor what only others have."""
    output, summary = str(tmp_path / "run"), finished[1]
    shutil.copytree(finished[0], output)
    path = tmp_path / "run" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    kept = {"weight_decay": 0.1, "beta_1": 0.9, "beta_2": 0.99}
    assert {name: config["train"][name] for name in kept} == kept
    for name in ("optimizer", *OPTIONS):
        if name not in kept:
            del config["train"][name]
    path.write_text(yaml.safe_dump(config))
    assert load_run(output).train_config.optimizer == "adamw"
    assert train(MODEL, TRAIN, data=data, output=output, progress=False) == summary
    before = {entry: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()}
    other = dataclasses.replace(TRAIN, optimizer="lion")
    with pytest.raises(ConfigError, match="train.optimizer='adamw', now it is 'lion'"):
        train(MODEL, other, data=data, output=output, progress=False)
    assert before == {
        entry: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()
    }


def test_bad_input_is_refused_before_the_first_step(data, tmp_path):
    def run(model=MODEL, folder=data, output="run", **changes):
        train(
            model,
            dataclasses.replace(TRAIN, **changes),
            data=folder,
            output=str(tmp_path / output),
            progress=False,
        )

    with pytest.raises(DataError, match="manifest"):
        run(folder=str(tmp_path / "nothing"))
    with pytest.raises(
        DataError,
        match=r"the manifest of the data folder cannot be read: ram://nothing/manifest\.json",
    ):
        run(folder="ram://nothing")
    with pytest.raises(DataError, match="tokens"):
        run(dataclasses.replace(MODEL, sequence_length=100_000))
    with pytest.raises(ConfigError, match="vocabulary_size=9, but the data was tokenized with 257"):
        run(dataclasses.replace(MODEL, vocabulary_size=9))
    with pytest.raises(
        ConfigError,
        match="global batch size 3 is not divisible by replicas x micro_batches = 2 x 1",
    ):
        run(global_batch_size=3, strategy="mirrored")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(DataError, match="photos exists and is not a run folder"):
        run(output="photos")
    assert sorted(os.listdir(tmp_path)) == ["photos"]
    (tmp_path / "corpus.txt").write_text("no folder")
    with pytest.raises(
        DataError, match=r"the manifest of the data folder is missing: .*corpus\.txt"
    ):
        run(folder=str(tmp_path / "corpus.txt"))


@pytest.mark.parametrize(
    "precision,steps,message",
    [
        ("float32", 9, "not finite at step 2; .* Last good checkpoint: there is none"),
        # One step moves the weights out of float16's range, and 15 halve the scale from 2^15 to 1.
        # They are in the checkpoint of step 15, which is whole and not good.
        (
            "mixed_float16",
            30,
            "not finite at step 17, though the loss scale is 1.* Last good checkpoint: there is none",
        ),
        ("mixed_float16", 5, "the validation loss after step 5 is nan"),
    ],
)
def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(
    data, tmp_path, precision, steps, message
):
    config = dataclasses.replace(
        TRAIN,
        learning_rate=1e38,
        warmup_steps=0,
        schedule="constant",
        clip_norm=0.0,
        steps=steps,
        precision=precision,
        validate_every=30,
    )
    with pytest.raises(TrainingError, match=message):
        train(MODEL, config, data=data, output=str(tmp_path / "run"), progress=False)


def test_n_grams_do_not_take_the_place_of_a_network(finished, data, capsys):
    before = sorted(os.listdir(finished[0]))
    words = ["train", "--model.family", "ngram", "--data", data, "--output", finished[0]]
    assert cli.main(words) == 2
    assert "holds model.keras, which would be lost" in capsys.readouterr().err
    assert sorted(os.listdir(finished[0])) == before


def test_folders_that_are_no_runs(tmp_path, finished, data):
    with pytest.raises(CheckpointError, match="is not a run folder"):
        load_run(str(tmp_path))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.yaml").write_text("model: {}\ntrain: {}")
    with pytest.raises(CheckpointError, match="has no model.keras yet"):
        load_run(str(broken))
    (broken / "model.keras").write_bytes(b"PK nonsense")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_run(str(broken))


def test_tensorboard_events_are_written(data, tmp_path):
    config = dataclasses.replace(TRAIN, steps=3, tensorboard=True)
    train(MODEL, config, data=data, output=str(tmp_path / "run"), progress=False)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(
        str(tmp_path / "run" / "tensorboard"), size_guidance={"tensors": 0}
    ).Reload()
    assert {"loss", "val_loss", "learning_rate", "tokens_per_second"} <= set(
        events.Tags()["tensors"]
    )
    assert recorder_module.RunRecorder is RunRecorder
