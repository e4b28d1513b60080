"""The scripts of examples/keras run as they stand, learn what can be learned, and end in a file that
gives what the model gives."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import tfscale.device

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "keras"
CLASSIFIERS = {"bilstm_classifier": 2, "lstm_classifier": 1, "transformer_encoder": 1}
"""The classifiers, and on how many of the tests' two devices each trains."""
REQUESTS = {
    "lstm_classifier": {
        "hello phone play some jazz in Berlin": "music",
        "is it warm tomorrow": "weather",
    }
}
"""Texts that a script classifies and that are not in its data, with what they mean."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs a script in this process, which shares the strategy with other tests,
    and returns its names."""
    monkeypatch.chdir(tmp_path)

    def run_script(name):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path / "export")])
        names = runpy.run_path(str(FOLDER / f"{name}.py"))
        assert [path.name for path in tmp_path.iterdir()] == ["export"]
        return names

    return run_script


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "lstm_classifier" else pytest.mark.slow)
        for name in CLASSIFIERS
    ],
)
def test_a_classifier_learns_and_its_file_predicts_the_same(name, run, capsys):
    names = run(name)
    model, file = names["model"], tfscale.device.load(names["folder"])
    assert model.strategy.num_replicas_in_sync == CLASSIFIERS[name]
    x, y = (names["x_test"], names["y_test"]) if "x_test" in names else (names["x"], names["y"])
    # The labels follow from the words, so that a perfect reader is right on every row.
    printed = capsys.readouterr().out
    [accuracy] = re.findall(r"accuracy of the .*file: ([\d.]+)", printed)
    assert float(accuracy) > 0.95
    assert model.evaluate(x, y, return_dict=True, verbose=0)["accuracy"] > 0.95
    assert max(np.bincount(y)) < 0.65 * len(y)
    difference = np.abs(file.predict(x)["output"] - model.predict(x, verbose=0)).max()
    assert difference < (0.1 if file.description.quantize == "int8" else 0.02)
    [row] = file.classify(x[:1])
    assert row["label"] in row["probabilities"] and len(row["probabilities"]) == 1 + y.max()
    for text, label in REQUESTS.get(name, {}).items():
        assert text not in [" ".join(asked.split()) for asked, _ in names["asked"]]
        assert f"{text}: {label} " in printed


@pytest.mark.slow
def test_the_language_model_predicts_characters_that_it_has_not_read(run, capsys):
    names = run("simple_rnn_language_model")
    model, file, ids = names["model"], tfscale.device.load(names["folder"]), names["ids"]
    printed = capsys.readouterr().out
    [perplexity] = map(float, re.findall(r"^perplexity ([\d.]+) of \d+ ", printed, re.MULTILINE))
    # Counting characters, which knows nothing of their order, is the baseline.
    seen = np.bincount(ids[:-2000], minlength=len(names["characters"])) + 1
    counted = np.exp(-np.log(seen / seen.sum())[ids[-2000:]].mean())
    assert perplexity < counted / 2
    window = ids[-64:]
    logits = model.network(window[None])[0]
    np.testing.assert_allclose(file.logits(window), logits, atol=1e-3)
    assert names["written"].startswith("def copy") and len(names["written"]) == 65
    assert names["written"] in printed


def test_each_script_says_how_to_run_it_and_is_short():
    scripts = sorted(FOLDER.glob("*.py"))
    assert {path.stem for path in scripts} == {*CLASSIFIERS, "simple_rnn_language_model"}
    page = (FOLDER.parent.parent / "docs" / "keras.md").read_text()
    for path in scripts:
        text = path.read_text()
        assert f"\n    python examples/keras/{path.name} [FOLDER]\n" in text
        assert 20 <= len(text.splitlines()) <= 70
        assert f"(../examples/keras/{path.name})" in page
