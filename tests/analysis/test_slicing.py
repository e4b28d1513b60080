"""Scores per group: by hand, with intervals that hold what they should, and by runs, files and tasks."""

import json
import math

import numpy as np
import pytest

from tests.exporting.exported import make_run
from tests.ngram.made import make_trigrams
from tests.tasks.made import make_task
from tfscale import cli
from tfscale.analysis.slices import slices, total_perplexity
from tfscale.analysis.slicing import document_scores, score_task_groups
from tfscale.artifacts.run import RunArtifact
from tfscale.config import GRUConfig
from tfscale.errors import DataError
from tfscale.models import build_network
from tfscale.tasks.predictor import TaskPredictor
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer


def test_values_and_gap_by_hand():
    items = [(2.0, 1), (4.0, 2), (9.0, 3)]
    found = slices(items, ["a", "b", "a"], total_perplexity, "perplexity")
    assert list(found["groups"]) == ["a", "b"] and found["groups"]["a"]["examples"] == 2
    # (2 + 9) / (1 + 3) nats per token, and 4 / 2.
    assert found["groups"]["a"]["value"] == pytest.approx(math.exp(11 / 4))
    assert (
        found["groups"]["b"]["value"] == found["groups"]["b"]["low"] == pytest.approx(math.exp(2))
    )
    assert (found["gap"]["highest"], found["gap"]["lowest"]) == ("a", "b")
    assert found["gap"]["value"] == pytest.approx(math.exp(11 / 4) - math.exp(2))
    # A sample of "a" is one of its texts twice, or both.
    assert found["groups"]["a"]["low"] == pytest.approx(math.exp(2)) and found["groups"]["a"][
        "high"
    ] == pytest.approx(math.exp(3))
    with pytest.raises(DataError, match="all 2 examples are of the group 'a'"):
        slices(items[:2], ["a", "a"], total_perplexity, "perplexity")


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(60):
        values = rng.normal(1.0, 1.0, 80).tolist()
        found = slices(
            values,
            ["a"] * 40 + ["b"] * 40,
            lambda v: float(np.mean(v)),
            "mean",
            seed=trial,
            draws=200,
        )
        held += sum(group["low"] <= 1.0 <= group["high"] for group in found["groups"].values())
    # 120 intervals of 95 %: 114 on average, and with luck a few less.
    assert 104 <= held <= 120


ROWS = [
    {"text": text, "who": who}
    for text, who in (("the cat sat", "x"), ("a dog ran far away", "y"), ("the cat ran", "x"))
]


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return str(tmp_path / "texts.jsonl")


def test_a_runs_texts_are_scored_one_by_one(texts, tmp_path):
    network = build_network(
        GRUConfig(vocabulary_size=257, sequence_length=8, embedding_dim=8, hidden_dim=8)
    )
    run = make_run(tmp_path / "run", network, ByteTokenizer())
    end = run.tokenizer.end_id
    expected = []
    for row in ROWS:
        ids = [*run.tokenizer.encode(row["text"]), end]
        nll = 0.0
        for start in range(0, len(ids), 8):
            inputs = np.array([[end, *ids][start : start + len(ids[start : start + 8])]])
            logits = network(inputs).numpy()[0].astype(float)
            logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            nll -= sum(logs[t, target] for t, target in enumerate(ids[start : start + 8]))
        expected.append((nll, len(ids)))
    found = document_scores(run, [row["text"] for row in ROWS])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    result = RunArtifact(run).score_groups([texts], "who")
    assert result["groups"]["x"]["value"] == pytest.approx(
        total_perplexity([expected[0], expected[2]]), rel=1e-5
    )
    with pytest.raises(DataError, match="line 1: there is no 'age' to slice by; it has text, who"):
        RunArtifact(run).score_groups([texts], "age")


def test_from_the_command_line(texts, tmp_path, capsys):
    folder = make_trigrams(tmp_path / "run", "the cat sat")
    words = ["evaluate", folder, "--text", texts, "--slice-by", "who"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "perplexity" in shown and "largest gap" in shown and "y above x" in shown
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["groups"]["y"]["value"] > found["groups"]["x"]["value"]
    assert cli.main(["evaluate", str(folder), "--slice-by", "who"]) == 2
    assert "needs files of examples" in capsys.readouterr().err


class Guess(TaskPredictor):
    """Says "good" of texts with an e."""

    def logits(self, ids):
        good = (ids == ord("e")).any(1)
        return np.stack([np.where(good, -1.0, 1.0), np.where(good, 1.0, -1.0)], -1)[:, None]


def test_a_classifier_is_sliced_with_equalized_odds(tmp_path):
    rows = [
        ("e", "good", "x"),
        ("e", "good", "x"),
        ("b", "bad", "x"),
        ("b", "bad", "x"),
        ("e", "good", "y"),
        ("b", "good", "y"),
        ("e", "bad", "y"),
        ("b", "bad", "y"),
    ]
    (tmp_path / "a.csv").write_text(
        "text,label,who\n" + "".join(",".join(row) + "\n" for row in rows)
    )
    model = Guess(make_task("classify", ByteTokenizer(), ["bad", "good"]))
    found = score_task_groups(model, [str(tmp_path / "a.csv")], "who")
    assert found["metric"] == "accuracy"
    assert {name: group["value"] for name, group in found["groups"].items()} == {"x": 1.0, "y": 0.5}
    assert (found["gap"]["value"], found["gap"]["highest"], found["gap"]["lowest"]) == (
        0.5,
        "x",
        "y",
    )
    # Of good texts 2 of 2 and 1 of 2 are called good; of bad ones 0 of 2 and 1 of 2.
    assert found["equalized_odds"] == {"bad": 0.5, "good": 0.5}
    # A group whose texts all have a label has no false positives to compare, and one without it no true ones.
    (tmp_path / "c.csv").write_text("text,label,who\ne,good,x\nb,bad,x\nb,bad,y\ne,bad,z\n")
    found = score_task_groups(model, [str(tmp_path / "c.csv")], "who")
    # Called good of the bad texts: 0 of x and y, all of z. No other group but x has good texts.
    assert found["equalized_odds"] == {"bad": 1.0, "good": 1.0}
    (tmp_path / "c.csv").write_text("text,label,who\ne,good,x\nb,bad,y\n")
    found = score_task_groups(model, [str(tmp_path / "c.csv")], "who")
    assert found["equalized_odds"] == {"bad": None, "good": None}
    # A label that the model does not have is none that it could get right.
    several = Guess(make_task("classify", ByteTokenizer(), ["bad"], labels_separator=","))
    for one in (several, model):
        (tmp_path / "b.csv").write_text("text,label,who\ne,bad,x\nb,fair,y\n")
        with pytest.raises(
            DataError,
            match="b.csv, line 3: label 'fair' does not occur in the training examples; they have",
        ):
            score_task_groups(one, [str(tmp_path / "b.csv")], "who")
