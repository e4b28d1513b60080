"""The family "ngram" in the steps that all families take: train, evaluate, generate, export, load."""

import errno
import json
import os

import numpy as np
import pytest
import yaml

import tfscale
from tfscale import cli
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import evaluation_dataset
from tfscale.data.tokens import token_blocks
from tfscale.device import load
from tfscale.errors import ConfigError
from tfscale.files import paths as files
from tfscale.ngram import count_ngrams, estimate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ngram")
    lines = [
        f"{name} {verb} the {thing}"
        for name in ("ann", "bob", "eve", "狐")
        for verb in ("sees", "eats", "likes")
        for thing in ("cake", "dog", "tree", "pot", "hat")
    ]
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    words = [
        "prepare",
        "--text",
        str(folder / "text.txt"),
        "--documents",
        "line",
        "--tokenizer",
        "byte",
        "--validation-fraction",
        "0.2",
        "--output",
        str(folder / "data"),
    ]
    assert cli.main(words) == 0
    return str(folder / "data")


@pytest.fixture(scope="module")
def run_dir(data, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("run") / "run")
    assert (
        cli.main(
            [
                "train",
                "--model.family",
                "ngram",
                "--model.order",
                "4",
                "--data",
                data,
                "--output",
                output,
            ]
        )
        == 0
    )
    return output


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("fails_at", ["model.ngram", "model.json", "summary.json"])
def test_the_same_command_goes_on_after_a_full_disk(data, tmp_path, monkeypatch, capsys, fails_at):
    output = str(tmp_path / "run")
    words = [
        "train",
        "--model.family",
        "ngram",
        "--model.order",
        "2",
        "--data",
        data,
        "--output",
        output,
    ]
    open_temporary = files.open_temporary

    def full(path, mode):
        if path.endswith(fails_at):
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_temporary(path, mode)

    monkeypatch.setattr(files, "open_temporary", full)
    assert cli.main(words) == 2
    assert f"no space left while writing {output}/{fails_at}" in capsys.readouterr().err
    monkeypatch.undo()
    assert cli.main(words) == 0
    assert load(output).ngrams.order == 2


def test_shards_read_by_numpy_are_those_of_tf_data(data):
    manifest = Manifest.load(data)
    for split in ("train", "validation"):
        dataset = evaluation_dataset(data, split, sequence_length=16, batch_size=4)
        expected = np.concatenate(
            [targets[weights > 0] for _, targets, weights in dataset.as_numpy_iterator()]
        )
        np.testing.assert_array_equal(
            np.concatenate(list(token_blocks(data, manifest, split))), expected
        )


def test_a_run_has_what_other_runs_have(run_dir, data, capsys):
    assert sorted(os.listdir(run_dir)) == [
        "config.yaml",
        "model.json",
        "model.ngram",
        "summary.json",
        "tokenizer",
    ]
    with open(os.path.join(run_dir, "config.yaml")) as file:
        described = yaml.safe_load(file)
    assert described["model"] == {
        "family": "ngram",
        "vocabulary_size": 257,
        "order": 4,
        "min_counts": [1],
        "arpa": "",
    }
    manifest = Manifest.load(data)
    blocks = token_blocks(data, manifest, "train")
    with count_ngrams(blocks, order=4, vocabulary_size=257, end_id=manifest.end_id) as counts:
        model = estimate(counts, vocabulary_size=257, end_id=manifest.end_id)
    stream = np.concatenate(list(token_blocks(data, manifest, "validation")))
    expected = model.score(stream, manifest.splits["validation"].utf8_bytes)
    with open(os.path.join(run_dir, "summary.json")) as file:
        summary = json.load(file)
    assert summary["validation"]["perplexity"] == pytest.approx(expected.perplexity)
    assert summary["ngrams"] == model.sizes and summary["tokens"] == manifest.splits["train"].tokens
    assert summary["parameters"] == 2 * sum(model.sizes[:3]) + model.sizes[3]
    capsys.readouterr()
    assert cli.main(["evaluate", run_dir, "--json"]) == 0
    found = last_json(capsys)
    assert found["bits_per_byte"] == pytest.approx(expected.bits_per_byte)
    assert 1 < found["perplexity"] < 6


def test_it_generates_and_its_text_is_scored(run_dir, tmp_path, capsys):
    assert cli.main(["generate", run_dir, "--prompt", "ann s", "--max-tokens", "30", "--json"]) == 0
    assert last_json(capsys)["text"].startswith("ees the ")
    (tmp_path / "text.txt").write_text("bob eats the pot")
    assert cli.main(["evaluate", run_dir, "--text", str(tmp_path / "text.txt"), "--json"]) == 0
    found = last_json(capsys)
    model = load(run_dir)
    assert found["tokens"] == 17 and found["bytes"] == 16
    assert found["perplexity"] == pytest.approx(model.score("bob eats the pot").perplexity)
    assert [s.word for s in model.suggest("ann ea", 1)] == ["eats"]


@pytest.mark.parametrize(
    ("format", "quantize"), [("ngram", "none"), ("ngram", "int8"), ("arpa", "none")]
)
def test_exports_are_proven_and_run(format, quantize, run_dir, data, tmp_path, capsys):
    output = str(tmp_path / "export")
    words = [
        "export",
        run_dir,
        "--output",
        output,
        "--format",
        format,
        "--quantize",
        quantize,
        "--json",
    ]
    assert cli.main(words) == 0
    report = last_json(capsys)
    assert report["passed"] and report["held_out"]["source"] == "validation split of data"
    with open(os.path.join(output, "README.md")) as file:
        assert f"`model.{format}` holds" in file.read()
    if format == "ngram":
        assert cli.main(["evaluate", output, "--data", data, "--json"]) == 0
        limit = 0.01 if quantize == "int8" else 1e-6
        expected = load(run_dir).score(
            np.concatenate(list(token_blocks(data, Manifest.load(data), "validation")))
        )
        assert last_json(capsys)["perplexity"] == pytest.approx(expected.perplexity, rel=limit)
        return
    again = str(tmp_path / "again")
    arpa = os.path.join(output, "model.arpa")
    words = [
        "train",
        "--model.family",
        "ngram",
        "--model.arpa",
        arpa,
        "--data",
        data,
        "--output",
        again,
        "--json",
    ]
    assert cli.main(words) == 0
    assert last_json(capsys)["validation"]["perplexity"] == pytest.approx(
        report["perplexity"]["file"], rel=1e-5
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "RUN", "--output", "OUT"], "give --format ngram or arpa for an n-gram model"),
        (
            ["export", "RUN", "--output", "RUN", "--format", "ngram"],
            "holds config.yaml, which would be lost",
        ),
        (
            ["export", "RUN", "--output", "gs://b/x", "--format", "ngram"],
            "output gs://b/x is remote; write to a local",
        ),
        (
            ["export", "RUN", "--output", "OUT", "--format", "arpa", "--quantize", "int8"],
            "expected one of none",
        ),
        (
            ["export", "RUN", "--output", "OUT", "--format", "ngram", "--quantize", "int4"],
            "expected one of none, int8",
        ),
        (
            ["compress", "RUN", "--output", "OUT", "--prune.sparsity", "0.5"],
            "holds n-grams, not a network",
        ),
        (
            [
                "train",
                "--model.family",
                "ngram",
                "--data",
                "DATA",
                "--output",
                "OUT",
                "--train.steps",
                "3",
            ],
            "unknown option --train.steps",
        ),
        (
            [
                "train",
                "--model.family",
                "ngram",
                "--data",
                "DATA",
                "--output",
                "OUT",
                "--model.order",
                "11",
            ],
            "model.order=11 is out of range; expected 1 to 10",
        ),
        (
            [
                "train",
                "--model.family",
                "ngram",
                "--data",
                "DATA",
                "--output",
                "OUT",
                "--model.min-counts",
                "2",
            ],
            "model.min_counts=[2] is out of range; expected 1 and then numbers that do not fall",
        ),
        (
            [
                "train",
                "--model.family",
                "ngram",
                "--data",
                "DATA",
                "--output",
                "OUT",
                "--model.arpa",
                "nothing.arpa",
            ],
            "cannot read the ARPA file nothing.arpa",
        ),
        (["plan", "--model.family", "ngram"], "--model.family: expected one of bert"),
    ],
)
def test_mistakes_are_one_line(words, message, run_dir, data, tmp_path, capsys):
    places = {"RUN": run_dir, "DATA": data, "OUT": str(tmp_path / "out")}
    assert cli.main([places.get(word, word) for word in words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "out").exists()


def test_a_damaged_or_replaced_model_is_refused(run_dir, tmp_path):
    import shutil

    from tfscale.errors import ExportError

    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    content = (copy / "model.ngram").read_bytes()
    (copy / "model.ngram").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ExportError, match="is damaged or was replaced"):
        load(str(copy))


def test_python_takes_what_the_command_line_takes(run_dir, data, tmp_path):
    again = str(tmp_path / "run")
    config = tfscale.NGramConfig(order=4)
    summary = tfscale.train(config, tfscale.TrainConfig(), data=data, output=again, progress=False)
    expected = load(run_dir).score(
        np.concatenate(list(token_blocks(data, Manifest.load(data), "validation")))
    )
    assert summary["validation"]["perplexity"] == pytest.approx(expected.perplexity, rel=1e-9)
    report = tfscale.export(again, output=tmp_path / "export", format="ngram")
    assert report["passed"] and report["perplexity"]["file"] == pytest.approx(
        expected.perplexity, rel=1e-6
    )
    with pytest.raises(ConfigError, match="give --format ngram or arpa for an n-gram model"):
        tfscale.export(again, output=str(tmp_path / "other"))
    with pytest.raises(
        ConfigError, match="n-grams are counted, not trained: train.steps=3 has no effect"
    ):
        tfscale.train(config, tfscale.TrainConfig(steps=3), data=data, output=str(tmp_path / "no"))
    with pytest.raises(ConfigError, match="not trained: vectors has no effect on them"):
        tfscale.train(
            config, tfscale.TrainConfig(), data=data, output=str(tmp_path / "no"), vectors="v"
        )
