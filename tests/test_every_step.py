"""Every step on a tiny text by the command line, as a user takes it: all commands are the real ones."""

import json
import os

import pytest

from tfscale import cli

TEXT = "\n\n".join(
    f"Chapter {n}. The {n % 7} cats of house {n % 5} saw {n % 3} birds and slept well."
    for n in range(300)
)
MODELS = {
    "transformer": [
        "--model.hidden_dim",
        "16",
        "--model.num_layers",
        "1",
        "--model.num_heads",
        "2",
    ],
    "lstm": [
        "--model.family",
        "lstm",
        "--model.hidden_dim",
        "16",
        "--model.embedding_dim",
        "16",
        "--train.xla",
        "off",
    ],
}


def command(capsys, *words):
    """Runs a command with --json; returns what its last line of stdout says."""
    capsys.readouterr()
    assert cli.main([*words, "--json"]) == 0, capsys.readouterr().err
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("steps")


@pytest.fixture(scope="module")
def data(folder):
    text = folder / "cats.txt"
    text.write_text(TEXT, encoding="utf-8")
    output = str(folder / "data")
    words = [
        "prepare",
        "--text",
        str(text),
        "--documents",
        "paragraph",
        "--tokenizer",
        "byte",
        "--processes",
        "1",
    ]
    assert cli.main([*words, "--test-fraction", "0.1", "--output", output]) == 0
    return output


@pytest.mark.parametrize("family", MODELS)
def test_text_to_a_generating_file(family, folder, data, capsys):
    run, exported = str(folder / family), str(folder / f"{family}-export")
    train = [
        "train",
        "--data",
        data,
        "--output",
        run,
        *MODELS[family],
        "--model.sequence_length",
        "32",
        "--train.steps",
        "40",
        "--train.global_batch_size",
        "8",
        "--train.warmup_steps",
        "5",
        "--train.learning_rate",
        "0.01",
        "--train.strategy",
        "single",
    ]
    trained = command(capsys, *train)
    assert trained["steps"] == 40
    assert trained["tokens"] == 40 * 8 * 32
    assert trained["loss"] < 5
    assert trained["tokens_per_second"] > 0

    manifest = json.loads((folder / "data" / "manifest.json").read_text())
    scored = command(capsys, "evaluate", run)
    for name, value in trained["validation"].items():
        assert scored[name] == pytest.approx(value, rel=1e-6)
    assert scored["tokens"] == manifest["splits"]["validation"]["tokens"]
    assert scored["bytes"] == manifest["splits"]["validation"]["utf8_bytes"]

    report = command(
        capsys,
        "export",
        run,
        "--output",
        exported,
        "--parity-tokens",
        "64",
        "--prefill-lengths",
        "8",
    )
    assert report["passed"] is True
    assert {"model.tflite", "model.json", "parity.json", "report.html", "tokenizer"} <= set(
        os.listdir(exported)
    )

    by_file = command(capsys, "evaluate", exported, "--data", data, "--split", "test")
    by_run = command(capsys, "evaluate", run, "--split", "test")
    assert by_file["nll_per_token"] == pytest.approx(by_run["nll_per_token"], rel=1e-4)
    assert by_file["tokens"] == by_run["tokens"]

    words = ["--prompt", "Chapter 1", "--max-tokens", "12"]
    from_run = command(capsys, "generate", run, *words)
    from_file = command(capsys, "generate", os.path.join(exported, "model.tflite"), *words)
    assert from_run["text"] == from_file["text"]
    assert cli.main(["generate", exported, *words]) == 0
    assert capsys.readouterr().out == f"Chapter 1{from_file['text']}\n"

    timed = command(
        capsys, "benchmark", exported, "--tokens", "4", "--prompt-tokens", "4", "--repeats", "1"
    )
    assert timed["decode_tokens_per_second"] > 0
    assert timed["file_bytes"] == os.path.getsize(os.path.join(exported, "model.tflite"))


@pytest.mark.slow
def test_a_stopped_run_goes_on(folder, data, capsys):
    """40 steps by the same command as 25 steps and then 40, in one process and at the same place in the schedule."""
    words = [
        "train",
        "--data",
        data,
        *MODELS["transformer"],
        "--model.sequence_length",
        "32",
        "--train.strategy",
        "single",
        "--train.global_batch_size",
        "8",
        "--train.checkpoint_every",
        "25",
        "--train.steps",
        "40",
        "--train.xla",
        "off",
    ]
    whole = command(capsys, *words, "--output", str(folder / "whole"))
    command(capsys, *words, "--output", str(folder / "again"))
    checkpoints = folder / "again" / "checkpoints"
    os.remove(checkpoints / "step-00000040.npz")
    again = command(capsys, *words, "--output", str(folder / "again"))
    assert again["steps"] == 40
    assert again["validation"] == whole["validation"]


def test_mistakes_on_the_road(folder, data, capsys):
    run = str(folder / "mistakes")
    cases = [
        (["prepare", "--text", "no/such.txt", "--output", run], "no/such.txt"),
        (
            ["prepare", "--text", __file__, "--output", os.path.dirname(__file__)],
            "is not a data folder",
        ),
        (["train", "--data", str(folder / "nothing"), "--output", run], "nothing"),
        (["train", "--data", data, "--output", run, "--model.sequence_length", "100000"], "100000"),
        (["train", "--data", data, "--output", data], "is not a run folder"),
        (["evaluate", data], "data"),
        (["benchmark", str(folder / "cats.txt")], "cats.txt"),
        (["generate", str(folder / "cats.txt"), "--prompt", "x"], "cats.txt"),
    ]
    for words, part in cases:
        capsys.readouterr()
        assert cli.main(words) == 2, words
        captured = capsys.readouterr()
        last = captured.err.splitlines()[-1]
        assert last.startswith("error: ") and part in last, (words, last)
        assert captured.out == ""
        assert not os.path.exists(run), words
