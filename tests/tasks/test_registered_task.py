"""A task of somebody else's, one class outside the package, from its file of examples to the device.

It says whether two texts are about the same colour.
"""

import json

import numpy as np
import pytest

import tfscale
from tests.exporting.exported import make_run
from tests.gpt2 import gpt2
from tfscale import cli
from tfscale.config.tasks import TaskConfig
from tfscale.device import load
from tfscale.errors import ConfigError, DataError
from tfscale.models import build_network
from tfscale.registry import TASKS
from tfscale.tasks.examples import Example, field_of, read_examples, text_of
from tfscale.tasks.model import load_task
from tfscale.tasks.values import Encoded, log_probabilities
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

COLOURS = ["red", "blue", "green"]


class Pairs(tfscale.Task):
    """Two texts -> whether they say the same; a row has `text`, `other` and `label`."""

    name = "pairs"
    summary = "whether two texts say the same"
    title = "Pairs of texts"
    metric = "accuracy"
    takes_question = True

    @classmethod
    def example(cls, row, where, fields, labelled):
        labels = (str(field_of(row, fields.label, where)),) if labelled else ()
        text, other = text_of(row, fields.text, where), text_of(row, "other", where)
        return Example(where, text, labels, question=other, fields=row)

    def encode(self, example):
        first, second = (self.tokenizer.encode(t) for t in (example.text, example.question))
        return Encoded(self.window([self.tokenizer.start_id, *first, *b" ~ ", *second]))

    def decode(self, logits, example, encoded):
        chances = np.exp(log_probabilities(logits))[0]
        return {"same": self.labels[int(chances.argmax())], "sure": float(chances.max())}

    def show(self, prediction):
        return f"{prediction['same']}!"

    def metrics(self, examples, predictions):
        pairs = zip(examples, predictions, strict=True)
        right = [example.labels[0] == prediction["same"] for example, prediction in pairs]
        return {"examples": len(right), "accuracy": sum(right) / len(right)}

    def baseline(self, train, examples):
        return [{"same": self.labels[0]} for _ in examples]


@pytest.fixture(scope="module", autouse=True)
def registered():
    tfscale.register(Pairs)
    yield
    del TASKS._registered["pairs"]


def write(path, count, seed):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        one, other = rng.choice(COLOURS, 2)
        other = one if rng.random() < 0.5 else other
        same = "yes" if one == other else "no"
        rows.append({"text": one, "other": other, "label": same, "first": one})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    config = gpt2(vocabulary_size=257, sequence_length=16, hidden_dim=32, num_layers=2, num_heads=4)
    run = make_run(folder, build_network(config), ByteTokenizer())
    summary = tfscale.finetune(
        run,
        task="pairs",
        output=str(folder / "task"),
        train=write(folder / "train.jsonl", 300, 0),
        test=write(folder / "test.jsonl", 60, 1),
        learning_rate=1e-2,
        dropout=0.0,
        epochs=8,
        patience=8,
    )
    return folder, summary


def test_it_learns_and_its_folder_predicts(trained, capsys):
    folder, summary = trained
    assert summary["labels"] == ["no", "yes"]
    assert summary["test"]["accuracy"] > 0.9 > 0.7 > summary["test"]["baseline"]["accuracy"]
    model = load_task(str(folder / "task"))
    assert model.predict_text("red", question="red")["same"] == "yes"
    assert str(model.predict_text("red", question="blue")) == "no!"
    words = ["predict", str(folder / "task"), "--text", "green", "--question", "green"]
    assert cli.main(words) == 0 and capsys.readouterr().out == "yes!\n"
    test = str(folder / "test.jsonl")
    words = ["evaluate", str(folder / "task"), "--text", test, "--json"]
    assert cli.main(words) == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scores["accuracy"] == summary["test"]["accuracy"]
    assert cli.main([*words, "--slice-by", "first"]) == 0
    sliced = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sliced["metric"] == "accuracy" and set(sliced["groups"]) == set(COLOURS)


def test_its_file_does_the_same_on_the_device(trained, capsys):
    folder, _ = trained
    words = ["export", str(folder / "task"), "--output", str(folder / "export"), "--json"]
    assert cli.main(words) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["passed"] and report["compared_on"]["source"] == "test examples"
    device, model = load(str(folder / "export")), load_task(str(folder / "task"))
    for other in COLOURS:
        ours, theirs = (one.predict_text("red", question=other) for one in (model, device))
        assert ours["same"] == theirs["same"] and theirs["sure"] == pytest.approx(
            ours["sure"], abs=1e-4
        )
    readme = (folder / "export" / "README.md").read_text()
    assert readme.startswith("# Pairs of texts\n") and "| Labels | no, yes |" in readme
    assert '"some words" --question "what?"' in readme


def test_its_mistakes_are_one_line(trained, capsys):
    folder, _ = trained
    model = load_task(str(folder / "task"))
    with pytest.raises(ConfigError, match="the task pairs needs a question"):
        model.predict_text("red")
    with pytest.raises(ConfigError, match="explain takes classifiers and language models; the t"):
        cli_error(capsys, "explain", str(folder / "task"), "--text", "red")
    with pytest.raises(DataError, match="line 1: there is no 'other'"):
        (folder / "short.jsonl").write_text('{"text": "red", "label": "yes"}\n')
        read_examples([str(folder / "short.jsonl")], "pairs")
    for option in ({"architecture": "prefix"}, {"balance": "weights"}, {"labels_separator": ","}):
        with pytest.raises(ConfigError, match="is for "):
            TaskConfig(task="pairs", output="o", train=["a.csv"], **option)
    with pytest.raises(ConfigError, match="give either config or options of it"):
        tfscale.finetune("run", TaskConfig(task="pairs", output="o", train=["a.csv"]), epochs=2)


def cli_error(capsys, *words):
    """Raises the error line of a command, which must end with the code of a user's mistake."""
    assert cli.main(list(words)) == 2
    raise ConfigError(capsys.readouterr().err)


def test_help_says_what_it_does(capsys):
    with pytest.raises(SystemExit):
        cli.main(["finetune", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "pairs: whether two texts say the same" in shown
    assert "tag: a label of each word (BIO)" in shown
