"""`tfscale compare` on a small text: an n-gram model and two tiny networks, the table, going on, and mistakes."""

import json
import os

import pytest

from tfscale import cli
from tfscale.commands import compare as compare_command
from tfscale.config import ExportConfig
from tfscale.device import load
from tfscale.evaluation.evaluate import evaluate_run
from tfscale.runs.folder import load_run
from tfscale.workflows.compare_table import table_rows, write_report

TINY = "model:\n  family: {family}\n  sequence_length: 16\n  hidden_dim: 16\n{more}train:\n  global_batch_size: 8\n  xla: off\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    lines = [
        f"{name} {verb} the {thing} {where}\n"
        for name in ("ann", "bob", "eve")
        for verb in ("sees", "eats")
        for thing in ("cake", "dog", "tree")
        for where in ("here", "there", "now")
    ]
    (folder / "text.txt").write_text("".join(lines * 3))
    words = [
        "prepare",
        "--text",
        str(folder / "text.txt"),
        "--documents",
        "line",
        "--tokenizer",
        "char",
        "--validation-fraction",
        "0.2",
        "--test-fraction",
        "0.2",
        "--output",
        str(folder / "data"),
    ]
    assert cli.main(words) == 0
    return str(folder / "data")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("yaml")
    (folder / "small.yaml").write_text(TINY.format(family="gru", more="  embedding_dim: 8\n"))
    (folder / "attention.yaml").write_text(
        TINY.format(family="transformer", more="  num_layers: 1\n  num_heads: 2\n")
    )
    return [str(folder / "small.yaml"), str(folder / "attention.yaml")]


@pytest.fixture(scope="module")
def compared(data, files, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("out") / "compared")
    words = [
        "compare",
        "--families",
        "ngram",
        *files,
        "--data",
        data,
        "--output",
        output,
        "--budget-tokens",
        "2000",
    ]
    return words, output


def test_the_table_has_what_each_model_measured(compared, data, capsys):
    words, output = compared
    assert cli.main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(result["models"]) == ["ngram", "small", "attention"] and result["split"] == "test"
    for name in ("small", "attention"):
        figures = result["models"][name]
        run = load_run(os.path.join(output, name, "run"))
        # 2,000 tokens are 16 steps of 8 x 16.
        assert (figures["steps"], figures["train_tokens"]) == (16, 16 * 8 * 16)
        score = evaluate_run(run, data_dir=data, split="test")
        assert figures["bits_per_byte"] == pytest.approx(score["bits_per_byte"])
        assert figures["parameters"] == run.network.count_params()
        model = load(os.path.join(output, name, "export"))
        assert (
            figures["file_bytes"] == os.path.getsize(model.path)
            and model.metadata["quantize"] == "int8"
        )
        assert figures["device_tokens_per_second"] > 0
    assert result["models"]["ngram"]["bits_per_byte"] < result["models"]["small"]["bits_per_byte"]
    with open(os.path.join(output, "report.html")) as file:
        page = file.read()
    assert "ngram predicts it best" in page and "<svg" in page
    assert {model["unknown_tokens"] for model in result["models"].values()} == {0}


def test_it_goes_on_where_it_stopped_and_shows_the_table(compared, monkeypatch, capsys):
    words, output = compared
    state = os.path.join(output, "compare.json")
    with open(state) as file:
        before = json.load(file)
    kept = {**before, "models": {name: before["models"][name] for name in ("ngram", "small")}}
    with open(state, "w") as file:
        json.dump(kept, file)
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    assert "ngram: done before" in captured.err and "small: done before" in captured.err
    assert "attention: train 16 steps" in captured.err
    assert all(name in captured.out for name in ("ngram", "small", "attention", "bits/byte"))


def test_it_goes_on_after_a_stop_during_the_first_model(
    compared, files, data, tmp_path, monkeypatch, capsys
):
    output = str(tmp_path / "stopped")
    words = [
        "compare",
        "--families",
        "ngram",
        "--data",
        data,
        "--output",
        output,
        "--budget-tokens",
        "2000",
    ]

    def stopped(model_config, data, output, progress):
        os.makedirs(os.path.join(output, "tokenizer"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tfscale.workflows.compare.train_ngram", stopped)
        assert cli.main(words) == 130
    assert cli.main(words) == 0
    assert "ngram" in capsys.readouterr().out


def test_other_data_is_another_comparison(compared, data, tmp_path, capsys):
    """The same tokenizer does not make it the same text."""
    words, _ = compared
    (tmp_path / "text.txt").write_text(
        "".join(f"ann eats {'the cake ' * count}here\n" for count in range(40))
    )
    other = str(tmp_path / "data")
    assert (
        cli.main(
            [
                "prepare",
                "--text",
                str(tmp_path / "text.txt"),
                "--documents",
                "line",
                "--tokenizer-from",
                data,
                "--validation-fraction",
                "0.2",
                "--test-fraction",
                "0.2",
                "--output",
                other,
            ]
        )
        == 0
    )
    assert cli.main([other if word == data else word for word in words]) == 2
    assert "was begun with data_digest=" in capsys.readouterr().err


def test_a_file_of_a_cloze_model_is_refused_too(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("model:\n  family: bert\n")
    words = ["--data", "d", "--output", str(tmp_path / "o"), "--budget-tokens", "2000"]
    assert cli.main(["compare", "--families", str(tmp_path / "mine.yaml"), *words]) == 2
    assert "bert reads both sides of a token: its score is no perplexity" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--families", "bilstm"], "its score is no perplexity, and does not compare"),
        (["--families", "cnn"], "no model 'cnn' to compare; there are gru, lstm, ngram, nnlm"),
        (["--families", "gru,gru"], "--families names a model twice: gru gru"),
        (["--families", "no.yaml"], "cannot read the configuration no.yaml"),
        (["--budget-minutes", "1"], "give either budget_minutes or budget_tokens"),
        (["--budget-tokens", "3000"], "was begun with budget_tokens=2000, now it is 3000"),
        (["--split", "dev"], "has no split 'dev'"),
        (["--families", "gpt2-small"], "is larger than the data"),
    ],
)
def test_mistakes_are_one_line(changes, message, compared, capsys):
    words, _ = compared
    given = list(words)
    if changes[0] == "--families":
        start = given.index("--families")
        given[start : given.index("--data")] = changes
    else:
        given += changes
    if changes[0] == "--budget-tokens":
        given.remove("2000"), given.remove("--budget-tokens")
    assert cli.main(given) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and any(part in error for part in message.split("|"))


def test_an_export_of_the_comparison_is_like_any_other(compared, tmp_path):
    _, output = compared
    from tfscale.exporting.export import export_run

    report = export_run(
        load_run(os.path.join(output, "small", "run")), ExportConfig(output=str(tmp_path / "x"))
    )
    assert report["passed"]


def test_unknown_tokens_are_shown_and_withheld_figures_do_not_rank(tmp_path, capsys):
    timed = {
        "parameters": 10,
        "train_tokens": 5,
        "train_tokens_per_second": 1.0,
        "train_seconds": 60.0,
        "file_bytes": 1000,
        "device_tokens_per_second": 2.0,
        "bits_per_byte": None,
    }
    models = {
        "worse": timed | {"perplexity": 30.0, "unknown_tokens": 7, "unknown_share": 0.07},
        "better": timed | {"perplexity": 20.0, "unknown_tokens": 7, "unknown_share": 0.07},
        "earlier": timed | {"perplexity": 25.0},
    }
    assert [row[2:5] for row in table_rows(models)] == [
        [30.0, None, 7.0],
        [20.0, None, 7.0],
        [25.0, None, None],
    ]
    compare_command.show({"models": models, "output": str(tmp_path)})
    assert "7 % of the tokens are unknown: each model has predicted" in capsys.readouterr().out
    write_report(str(tmp_path / "report.html"), models, "test")
    page = (tmp_path / "report.html").read_text()
    assert (
        "better predicts it best" in page
        and "against its perplexity" in page
        and "unknown %" in page
    )
