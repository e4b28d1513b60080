"""`tfscale compress`: a run becomes a sparse run that goes on, evaluates and exports like any other."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml

from tests.distribution.addresses import free_addresses
from tfscale import cli
from tfscale.compress.compress import compress_run, schedule_of
from tfscale.config import LSTMConfig, PrepareConfig, TrainConfig
from tfscale.config.compression import CompressConfig, PruneConfig
from tfscale.config.shrinking import ShrinkConfig
from tfscale.data.prepare import prepare
from tfscale.errors import ConfigError, TokenizerError
from tfscale.evaluation.evaluate import evaluate_run
from tfscale.files.paths import read_json_lines
from tfscale.runs.folder import load_run
from tfscale.runs.train import train

PRUNE = PruneConfig(sparsity=0.75, frequency=2, exclude="output")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data/ and a trained run/."""
    root = tmp_path_factory.mktemp("compress")
    words = "the red cat ran and the old dog sat under a big blue mat".split()
    rng = np.random.default_rng(0)
    (root / "text.txt").write_text(
        "".join(" ".join(rng.choice(words, 9)) + ".\n" for _ in range(600))
    )
    prepare(
        PrepareConfig(
            text=[str(root / "text.txt")],
            documents="line",
            tokenizer="byte",
            output=str(root / "data"),
            shards=2,
        ),
        progress=False,
    )
    model = LSTMConfig(sequence_length=16, embedding_dim=8, hidden_dim=16, num_layers=1)
    config = TrainConfig(
        steps=60,
        global_batch_size=8,
        learning_rate=1e-2,
        warmup_steps=5,
        log_every=10,
        validate_every=30,
        checkpoint_every=10,
        tensorboard=False,
        xla="off",
    )
    train(model, config, data=str(root / "data"), output=str(root / "run"), progress=False)
    return root


def compressed(folder, name, steps=30, **options):
    config = CompressConfig(output=str(folder / name), steps=steps, learning_rate=3e-3)
    return compress_run(
        str(folder / "run"), config, dataclasses.replace(PRUNE, **options), progress=False
    )


def test_the_new_run_is_sparse_and_begins_where_the_old_one_ended(folder):
    summary = compressed(folder, "pruned")
    kernels = ["lstm_0/lstm_cell/kernel", "lstm_0/lstm_cell/recurrent_kernel"]
    assert list(summary["sparsity"]) == kernels
    assert all(value == pytest.approx(0.75, abs=0.005) for value in summary["sparsity"].values())
    assert summary["sparsity_of_pruned"] == pytest.approx(0.75, abs=0.005)
    old, new = load_run(str(folder / "run")), load_run(str(folder / "pruned"))
    assert summary["validation_before"] == old.summary["validation"] != summary["validation"]
    # Not from random weights: those have 5.5 nats here.
    assert summary["validation"]["nll_per_token"] < 1.1 * old.summary["validation"]["nll_per_token"]
    for weight in new.network.weights:
        zeros = float((weight.numpy() == 0).mean())
        assert (
            zeros == pytest.approx(summary["sparsity"].get(weight.path, 0.0), abs=1e-9)
            or "bias" in weight.path
        )
    config = yaml.safe_load((folder / "pruned" / "config.yaml").read_text())
    assert config["prune"]["sparsity"] == 0.75 and config["started_from"] == old.weights_digest
    assert config["train"]["steps"] == 30 and config["train"]["global_batch_size"] == 8
    assert config["train"]["warmup_steps"] == 3


@pytest.mark.slow
def test_zeros_that_come_last_are_in_the_result(folder, capsys):
    """The first of two validations has the lower loss, before most of the zeros: the result is not that one."""
    summary = compressed(folder, "late", steps=60, sparsity=0.97)
    assert (summary["result"], summary["result_step"]) == ("last", 60)
    assert summary["sparsity_of_pruned"] == pytest.approx(0.97, abs=0.01)
    history = read_json_lines(str(folder / "late" / "history.jsonl"))
    losses = [entry["val_loss"] for entry in history if "val_loss" in entry]
    assert losses[0] < losses[-1]
    words = ["--model.family", "bilstm", "--model.sequence_length", "16", "--model.hidden_dim", "8"]
    assert (
        cli.main(
            [
                "train",
                *words,
                "--model.embedding_dim",
                "8",
                "--train.steps",
                "4",
                "--train.global_batch_size",
                "8",
                "--train.xla",
                "off",
                "--train.warmup_steps",
                "1",
                "--data",
                str(folder / "data"),
                "--output",
                str(folder / "bilstm"),
            ]
        )
        == 0
    )
    assert (
        cli.main(
            [
                "compress",
                str(folder / "bilstm"),
                "--quantize",
                "int8",
                "--steps",
                "2",
                "--output",
                str(folder / "bilstm8"),
            ]
        )
        == 0
    )
    assert "validation pseudo-perplexity" in capsys.readouterr().out


def test_the_figure_before_is_of_the_data_that_the_one_after_is_of(folder):
    other = folder / "elsewhere"
    prepare(
        PrepareConfig(
            text=[str(folder / "text.txt")],
            documents="line",
            tokenizer="byte",
            output=str(other),
            validation_fraction=0.3,
        ),
        progress=False,
    )
    config = CompressConfig(output=str(folder / "on-other"), steps=5, data=str(other))
    summary = compress_run(
        str(folder / "run"), config, dataclasses.replace(PRUNE, frequency=1), progress=False
    )
    run = load_run(str(folder / "run"))
    expected = evaluate_run(run, data_dir=str(other))["nll_per_token"]
    assert summary["validation_before"]["nll_per_token"] == pytest.approx(expected, rel=1e-6)
    assert summary["validation_before"]["tokens"] == summary["validation"]["tokens"]
    assert summary["validation_before"]["tokens"] != run.summary["validation"]["tokens"]


@pytest.mark.slow
def test_a_stopped_one_goes_on_to_the_same_weights(folder, monkeypatch):
    import tfscale.runs.recorder as recorder

    whole = compressed(folder, "whole")
    original = recorder.RunRecorder.on_train_batch_end

    def stop_at_20(self, batch, logs=None):
        if int(self.runner.step.numpy()) >= 20:
            self.interrupted = "SIGTERM"
        original(self, batch, logs)

    monkeypatch.setattr(recorder.RunRecorder, "on_train_batch_end", stop_at_20)
    assert compressed(folder, "stopped")["steps"] == 20
    monkeypatch.undo()
    again = compressed(folder, "stopped")
    assert again["completed"] and again["sparsity"] == whole["sparsity"]
    for a, b in zip(
        load_run(str(folder / "whole")).network.weights,
        load_run(str(folder / "stopped")).network.weights,
        strict=True,
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    with pytest.raises(ConfigError, match="was begun with prune.sparsity=0.75, now it is 0.5"):
        compressed(folder, "stopped", sparsity=0.5)


def test_the_command(folder, capsys):
    output = folder / "by-command"
    words = [
        str(folder / "run"),
        "--output",
        str(output),
        "--steps",
        "20",
        "--prune.pattern",
        "2:4",
    ]
    words += ["--prune.sparsity", "0.5", "--prune.include", "kernel"]
    assert cli.main(["compress", *words]) == 0
    shown = capsys.readouterr().out
    assert (
        "lstm_0/lstm_cell/kernel" in shown
        and "all of these" in shown
        and "validation perplexity" in shown
    )
    assert cli.main(["compress", *words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["sparsity"]["output/kernel"] == pytest.approx(0.5, abs=0.01)
    kernel = load_run(str(output)).network.get_layer("output").kernel.numpy()
    assert (
        (kernel.T.reshape(-1, 4) == 0).sum(axis=1) >= 2
    ).mean() > 0.95  # 259 outputs of 16 weights, in fours


@pytest.mark.slow
def test_two_workers_choose_the_same_weights_as_one_device(folder):
    addresses = free_addresses(2)
    words = [
        "compress",
        str(folder / "run"),
        "--output",
        str(folder / "two"),
        "--prune.sparsity",
        "0.75",
    ]
    words += [
        "--prune.frequency",
        "2",
        "--prune.exclude",
        "output",
        "--steps",
        "30",
        "--learning-rate",
        "0.003",
    ]
    processes = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environ = {**os.environ, "TF_CONFIG": json.dumps(config)}
        command = [sys.executable, "-m", "tfscale.cli", *words]
        processes.append(
            subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
    ends = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    compressed(folder, "one")
    name = "checkpoints/step-00000030.npz"
    with np.load(folder / "two" / name) as two, np.load(folder / "one" / name) as one:
        masks = [key for key in one.files if key.startswith("mask/")]
        assert len(masks) == 2
        for key in masks:
            np.testing.assert_array_equal(two[key], one[key])
        for key in set(one.files) - {"meta"}:
            np.testing.assert_allclose(two[key], one[key], atol=1e-5, err_msg=key)


def test_units_leave_and_the_rest_is_trained_on(folder):
    config = CompressConfig(output=str(folder / "narrow"), steps=30, learning_rate=3e-3)
    summary = compress_run(
        str(folder / "run"),
        config,
        PruneConfig(sparsity=0.5, frequency=5),
        ShrinkConfig(lstm_units=12),
        progress=False,
    )
    old, new = load_run(str(folder / "run")), load_run(str(folder / "narrow"))
    assert new.model_config.hidden_dim == 12 and old.model_config.hidden_dim == 16
    assert summary["parameters"] == new.network.count_params() < old.network.count_params()
    assert summary["parameters_before"] == old.network.count_params()
    assert set(summary["sparsity"]) == {w.path for w in new.network.weights if "kernel" in w.path}
    assert summary["validation"]["nll_per_token"] < 1.2 * old.summary["validation"]["nll_per_token"]
    with pytest.raises(ConfigError, match="was begun with model.hidden_dim=12, now it is 16"):
        compress_run(
            str(folder / "run"),
            config,
            PruneConfig(sparsity=0.5, frequency=5),
            ShrinkConfig(),
            progress=False,
        )


def test_the_schedule_ends_on_a_step_that_prunes():
    for steps in (30, 100, 1000):
        schedule = schedule_of(PruneConfig(sparsity=0.8, frequency=7), steps)
        due, sparsity = schedule(np.int32(schedule.end_step))
        assert bool(due) and float(sparsity) == pytest.approx(0.8)
        assert schedule.end_step <= steps


@pytest.mark.parametrize(
    "options,message",
    [
        ({"sparsity": 1.0}, "sparsity=1.0 is out of range; expected 0 or more and less than 1"),
        ({"sparsity": -0.1}, "sparsity=-0.1"),
        ({"pattern": "2:4"}, "expected 0.5, which is what pattern=2:4 makes"),
        ({"end_step": 31}, "prune.end_step=31 lies behind the last of 30 steps"),
        ({"begin_step": 31}, "prune.begin_step=31 lies behind the last of 30 steps"),
        ({"begin_step": 5, "end_step": 4}, "end_step=4 is out of range"),
        ({"frequency": 40}, "leaves no second choice"),
        ({"include": "no such weight"}, "the policy chooses no weight"),
        ({"sparsity": 0.0}, "there is nothing to do"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(folder, options, message):
    with pytest.raises(ConfigError, match=message):
        compressed(folder, "mistaken", **options)
    assert not (folder / "mistaken" / "config.yaml").exists()


def test_data_of_another_tokenizer_is_refused(folder):
    other = folder / "other"
    prepare(
        PrepareConfig(
            text=[str(folder / "text.txt")], documents="line", tokenizer="char", output=str(other)
        ),
        progress=False,
    )
    with pytest.raises(TokenizerError, match="another tokenizer"):
        compress_run(
            str(folder / "run"),
            CompressConfig(output=str(folder / "x"), data=str(other)),
            PRUNE,
            progress=False,
        )
