"""Each task learned for real, on small sets that are generated and known, and against a baseline that is stated.

The runs beneath are small networks that have read nothing: what is learned is learned here.
"""

import importlib.util
import json
import os

import numpy as np
import pytest

import tfscale
from tests.exporting.exported import make_run
from tests.gpt2 import gpt2
from tests.slow import slow_but
from tfscale import cli
from tfscale.config import (
    BERTConfig,
    BiLSTMConfig,
    ExportConfig,
    GRUConfig,
    LSTMConfig,
    NNLMConfig,
)
from tfscale.config.tasks import TaskConfig
from tfscale.device import load
from tfscale.errors import ConfigError, DataError
from tfscale.exporting.task import TaskSource
from tfscale.exporting.writer import export_source
from tfscale.models import build_network
from tfscale.runs.folder import save_network
from tfscale.tasks.examples import Example
from tfscale.tasks.finetune import finetune
from tfscale.tasks.model import load_task
from tfscale.tasks.splits import balanced, held_out
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

LENGTH = 48
BASES = {
    "bilstm": BiLSTMConfig(
        vocabulary_size=257, sequence_length=LENGTH, embedding_dim=24, hidden_dim=32
    ),
    "transformer": gpt2(
        vocabulary_size=257,
        sequence_length=LENGTH,
        hidden_dim=32,
        num_layers=2,
        num_heads=4,
        positions="rope",
    ),
    "bert": BERTConfig(
        vocabulary_size=257,
        sequence_length=LENGTH,
        hidden_dim=32,
        num_layers=2,
        num_heads=4,
        positions="rope",
    ),
    "lstm": LSTMConfig(
        vocabulary_size=257, sequence_length=LENGTH, embedding_dim=24, hidden_dim=32
    ),
    "gru": GRUConfig(
        vocabulary_size=257,
        sequence_length=LENGTH,
        embedding_dim=24,
        hidden_dim=32,
        tie_embeddings=True,
    ),
    "nnlm": NNLMConfig(
        vocabulary_size=257,
        sequence_length=LENGTH,
        context_tokens=5,
        embedding_dim=24,
        hidden_dim=32,
    ),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = {}

    def run_of(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            made[family] = make_run(folder, build_network(BASES[family]), ByteTokenizer())
        return made[family]

    return run_of


def word(rng, letters="abcdefghijklmnop"):
    return "".join(rng.choice(list(letters), rng.integers(3, 6)))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def opinions(rng, count):
    """A text is good or bad by one word in it; good ones are four times as many."""
    rows = []
    for _ in range(count):
        good = rng.random() < 0.8
        middle = rng.choice(["fine", "great", "superb"] if good else ["dull", "awful", "stale"])
        rows.append(
            {"text": f"{word(rng)} {middle} {word(rng)}", "label": "good" if good else "bad"}
        )
    return rows


def sentences(rng, count):
    """Names that were never seen before: only `mr` and `in` tell that the next word, or two, is a person or a place."""
    rows = []
    for _ in range(count):
        words = [word(rng), "mr", word(rng), word(rng), "met", word(rng), "in", word(rng)]
        rows.append({"words": words, "tags": ["O", "O", "B-PER", "I-PER", "O", "O", "O", "B-LOC"]})
    return rows


def questions(rng, count):
    """The question says which of two phrases answers it."""
    rows = []
    for _ in range(count):
        place, day = word(rng), str(rng.integers(1, 32))
        text = f"{word(rng)} at {place} on {day} {word(rng)}"
        where = rng.random() < 0.5
        rows.append(
            {
                "question": "where" if where else "when",
                "context": text,
                "answer": place if where else day,
            }
        )
    return rows


def fit(runs, family, rows, tmp_path, task, epochs=12, **options):
    rng = np.random.default_rng(0)
    files = {
        name: [write(tmp_path / f"{name}.jsonl", rows(rng, count))]
        for name, count in (("train", 300), ("validation", 60), ("test", 60))
    }
    config = TaskConfig(
        task=task,
        output=str(tmp_path / "task"),
        epochs=epochs,
        patience=options.pop("patience", 4),
        learning_rate=options.pop("rate", 1e-2),
        dropout=0.0,
        **files,
        **options,
    )
    return finetune(runs(family), config)


@pytest.mark.parametrize("family", slow_but(["transformer", "lstm", "bert"], "transformer"))
def test_classify_learns_and_its_file_does_the_same(family, runs, tmp_path, capsys):
    summary = fit(
        runs,
        family,
        opinions,
        tmp_path,
        "classify",
        epochs=12 if family == "bert" else 6,
        patience=12,
    )
    assert summary["test"]["f1"] > 0.9 > 0.5 > summary["test"]["baseline"]["f1"]
    assert summary["labels"] == ["bad", "good"] and summary["examples"] == {
        "train": 300,
        "validation": 60,
        "test": 60,
    }
    folder = str(tmp_path / "task")
    model = load_task(folder)
    assert model.predict_text("abc superb def")["label"] == "good"
    assert cli.main(["evaluate", folder, "--text", str(tmp_path / "test.jsonl"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["f1"] == pytest.approx(summary["test"]["f1"])
    for quantize in ("none", "int8"):
        report = export_source(
            TaskSource(model), ExportConfig(output=str(tmp_path / quantize), quantize=quantize)
        )
        assert report["passed"] and report["compared_on"]["source"] == "test examples"
    device = load(str(tmp_path / "none"))
    ours, theirs = model.predict_text("abc stale def"), device.predict_text("abc stale def")
    assert ours["label"] == theirs["label"] == "bad"
    assert theirs["probabilities"] == pytest.approx(ours["probabilities"], abs=1e-4)
    assert (
        cli.main(
            ["evaluate", str(tmp_path / "int8"), "--text", str(tmp_path / "test.jsonl"), "--json"]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["f1"] > 0.85
    with open(tmp_path / "int8" / "model.json") as file:
        assert str(tmp_path) not in file.read()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bilstm", "transformer"])
def test_tag_learns_from_the_words_around(family, runs, tmp_path, capsys):
    summary = fit(runs, family, sentences, tmp_path, "tag", epochs=8)
    assert summary["labels"] == ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
    assert summary["test"]["f1"] > 0.85 > 0.3 > summary["test"]["baseline"]["f1"]
    folder = str(tmp_path / "task")
    report = export_source(
        TaskSource(load_task(folder)), ExportConfig(output=str(tmp_path / "export"))
    )
    assert report["passed"]
    for target in (folder, str(tmp_path / "export")):
        capsys.readouterr()
        assert cli.main(["predict", target, "--text", "cde mr abc lmno met ijk  in fgh"]) == 0
        assert capsys.readouterr().out == "cde mr abc/B-PER lmno/I-PER met ijk in fgh/B-LOC\n"


@pytest.mark.slow
def test_answer_reads_the_question(runs, tmp_path, capsys):
    summary = fit(runs, "bilstm", questions, tmp_path, "answer", epochs=16)
    assert summary["test"]["f1"] > 0.8 > 0.0 == summary["test"]["baseline"]["f1"]
    words = ["predict", str(tmp_path / "task"), "--text", "abc at klmn on 17 efg", "--json"]
    for question, expected in (("where", "klmn"), ("when", "17")):
        assert cli.main([*words, "--question", question]) == 0
        [found] = json.loads(capsys.readouterr().out.splitlines()[-1])["predictions"]
        assert found["answer"] == expected
    assert cli.main(words) == 2 and "the task answer needs a question" in capsys.readouterr().err
    assert (
        cli.main(
            ["predict", str(tmp_path / "task"), "--file", str(tmp_path / "test.jsonl"), "--json"]
        )
        == 0
    )
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["predictions"]) == 60


@pytest.mark.slow
def test_several_labels_are_told_apart(runs, tmp_path):
    def rows(rng, count):
        made = []
        for _ in range(count):
            labels = [label for label in ("sun", "rain", "fog") if rng.random() < 0.5]
            made.append({"text": " ".join([word(rng), *labels, word(rng)]), "label": labels})
        return made

    summary = fit(runs, "lstm", rows, tmp_path, "classify", labels_separator=",", epochs=10)
    assert summary["test"]["f1_micro"] > 0.9 > 0.8 > summary["test"]["baseline"]["f1_micro"]
    tfscale.export(str(tmp_path / "task"), output=str(tmp_path / "export"))
    # As many labels as there are; each is a yes or no of two logits.
    assert load(str(tmp_path / "export")).predict_text("abc sun rain def")["labels"] == [
        "rain",
        "sun",
    ]


@pytest.mark.slow
def test_a_task_of_half_precision_is_exported_in_float32(tmp_path):
    base = build_network(BASES["lstm"], "mixed_bfloat16")
    run = make_run(tmp_path / "run", base, ByteTokenizer())
    rows = [{"text": text, "label": label} for text, label in (("good", "x"), ("bad", "y"))] * 10
    config = TaskConfig(
        task="classify",
        output=str(tmp_path / "task"),
        epochs=1,
        train=[write(tmp_path / "a.jsonl", rows)],
        precision="mixed_bfloat16",
    )
    finetune(run, config)
    model = load_task(config.output)
    assert model.network.base.precision == "mixed_bfloat16"
    assert export_source(TaskSource(model), ExportConfig(output=str(tmp_path / "export")))["passed"]
    ours, theirs = (
        one.predict_text("good")["probabilities"] for one in (model, load(str(tmp_path / "export")))
    )
    assert theirs == pytest.approx(ours, abs=2e-2)


@pytest.mark.slow
def test_one_label_that_a_text_has_or_has_not(runs, tmp_path):
    def rows(rng, count):
        return [
            {
                "text": f"{word(rng)} {'offer' if spam else 'lunch'} {word(rng)}",
                "label": "spam" if spam else "",
            }
            for spam in rng.random(count) < 0.5
        ]

    summary = fit(runs, "lstm", rows, tmp_path, "classify", labels_separator=",", epochs=4)
    test = summary["test"]
    assert list(test["by_label"]) == ["spam"] and test["f1"] == test["by_label"]["spam"]["f1"] > 0.9
    assert test["by_label"]["spam"]["examples"] < test["examples"] == 60


def test_a_label_is_not_held_out_whole():
    examples = [Example("", "t", ("often",)) for _ in range(80)] + [
        Example("", "t", (f"rare {i}",)) for i in range(20)
    ]
    for seed in range(5):
        chosen = held_out(examples, np.random.default_rng(seed))
        assert len(chosen) == 10 and max(chosen) < 80
    with pytest.raises(DataError, match="every training example has a label that no other one has"):
        held_out(examples[80:], np.random.default_rng(0))


@pytest.mark.parametrize("balance", ["weights", "resample"])
def test_balance_makes_rare_labels_as_heavy_as_frequent_ones(balance):
    numbers = np.array([0] * 6 + [1] * 2)
    arrays = (np.arange(8)[:, None], numbers[:, None], np.ones((8, 1), np.float32))
    config = TaskConfig(task="classify", output="o", train=["a.csv"], balance=balance)
    ids, targets, weights = balanced(arrays, config)
    mass = [weights[targets == label].sum() for label in (0, 1)]
    assert mass[0] == pytest.approx(mass[1])
    assert weights.mean() == pytest.approx(1.0)
    assert set(ids[targets[:, 0] == 1].ravel()) <= {6, 7}


@pytest.mark.slow
def test_frozen_and_low_rank_training_leave_the_weights(runs, tmp_path):
    base = runs("transformer")
    before = [weight.numpy() for weight in base.network.weights]
    frozen = fit(runs, "transformer", opinions, tmp_path, "classify", epochs=1, freeze=True)
    assert frozen["trained_parameters"] == 2 * 2 * 32 + 2
    np.testing.assert_array_equal(
        load_task(str(tmp_path / "task")).network.base.weights[0], before[0]
    )
    (tmp_path / "lora").mkdir()
    lora = fit(
        runs,
        "transformer",
        opinions,
        tmp_path / "lora",
        "classify",
        epochs=10,
        lora_rank=2,
        rate=2e-2,
    )
    # Two blocks of four dense layers, D x rank + rank x F each, and the head.
    layers = 2 * 2 * ((32 + 96) + (32 + 32) + (32 + 128) + (128 + 32))
    assert lora["trained_parameters"] == layers + 2 * 2 * 32 + 2
    assert lora["test"]["f1"] > lora["test"]["baseline"]["f1"] + 0.3
    saved = load_task(str(tmp_path / "lora" / "task"))
    assert saved.network.count_params() == lora["parameters"] - layers
    moved = [
        float(np.abs(a - np.asarray(b)).max())
        for a, b in zip(before, saved.network.base.weights, strict=True)
    ]
    kernels = ["kernel" in weight.path for weight in saved.network.base.weights]
    # The additions are in the kernels of the file; all else is as it was.
    assert all((change > 0) == is_kernel for change, is_kernel in zip(moved, kernels, strict=True))
    assert saved.score(saved.read([str(tmp_path / "lora" / "test.jsonl")]))["f1"] == pytest.approx(
        lora["test"]["f1"]
    )
    for weight, value in zip(base.network.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


@pytest.mark.slow
def test_low_rank_training_leaves_out_what_only_predicts_tokens(runs, tmp_path):
    """The output layer of a feed-forward model is dense too, and no feature is made of it; an LSTM's is its only one."""
    summary = fit(runs, "nnlm", opinions, tmp_path, "classify", epochs=6, lora_rank=3, rate=2e-2)
    # One layer of 5 x 24 to 32, without its bias, and the head over mean and last token.
    assert summary["trained_parameters"] == 3 * (5 * 24 + 32) + 2 * 2 * 32 + 2
    assert summary["test"]["f1"] > summary["test"]["baseline"]["f1"] + 0.2
    rows = write(tmp_path / "rows.jsonl", opinions(np.random.default_rng(0), 20))
    with pytest.raises(ConfigError, match="no feature of LSTMLM is made by a dense layer"):
        finetune(
            runs("lstm"),
            TaskConfig(task="classify", output=str(tmp_path / "x"), train=[rows], lora_rank=3),
        )


def test_the_learning_rate_follows_what_is_trained():
    def rate(task="classify", **options):
        return TaskConfig(task=task, output="t", train=["x"], **options).peak_learning_rate

    assert (rate(), rate("tag"), rate("answer")) == (1e-4, 1e-4, 1e-4)
    assert (rate(freeze=True), rate(lora_rank=4), rate("translate")) == (1e-3, 1e-3, 1e-3)
    assert rate(learning_rate=0.5, freeze=True) == 0.5


@pytest.mark.slow
def test_two_replicas_learn_the_same(runs, tmp_path):
    results = []
    for name in ("single", "mirrored"):
        folder = tmp_path / name
        folder.mkdir()
        fit(runs, "lstm", opinions, folder, "classify", epochs=1, strategy=name)
        results.append(load_task(str(folder / "task")).network.get_weights())
    assert max(float(np.abs(a - b).max()) for a, b in zip(*results, strict=True)) < 1e-4


def test_a_run_folder_from_the_command_line(runs, tmp_path, capsys):
    run = runs("gru")
    folder = tmp_path / "run"
    folder.mkdir()
    save_network(run.network, str(folder / "model.keras"))
    run.tokenizer.save(str(folder / "tokenizer"))
    (folder / "config.yaml").write_text("model: {family: gru}\ntrain: {}\n")
    rng = np.random.default_rng(0)
    train, test = (
        write(tmp_path / f"{name}.jsonl", opinions(rng, 40)) for name in ("train", "test")
    )
    words = ["finetune", str(folder), "--task", "classify", "--train", train, "--epochs", "1"]
    assert cli.main([*words, "--test", test, "--output", str(tmp_path / "task")]) == 0
    captured = capsys.readouterr()
    assert "classify: 36 examples, 2 labels" in captured.err and "validation f1" in captured.out
    # One pass over 36 examples at the default learning rate teaches nothing yet, and that is said.
    with open(tmp_path / "task" / "summary.json") as file:
        score = json.load(file)["test"]
    better = score["accuracy"] > score["baseline"]["accuracy"]
    assert ("the model is no better than the baseline: test accuracy" in captured.err) is not better
    assert os.path.exists(tmp_path / "task" / "model.keras")
    for name, row in (
        ("label", {"text": "a", "label": "fair"}),
        ("empty", {"text": "", "label": "good"}),
    ):
        wrong = write(tmp_path / f"{name}.jsonl", [row])
        assert cli.main([*words, "--test", wrong, "--output", str(tmp_path / "other")]) == 2
        assert not (tmp_path / "other").exists()
    assert "text is empty" in capsys.readouterr().err
    wrong = str(tmp_path / "label.jsonl")
    for more in ([], ["--slice-by", "text"]):
        assert cli.main(["evaluate", str(tmp_path / "task"), "--text", wrong, *more]) == 2
        assert "label 'fair' does not occur in the training examples" in capsys.readouterr().err
    assert cli.main(["predict", str(tmp_path / "task")]) == 2
    assert cli.main(["predict", str(folder), "--text", "a"]) == 2
    assert "is a language model; predict needs" in capsys.readouterr().err
    assert cli.main(["generate", str(tmp_path / "task"), "--prompt", "a"]) == 2
    assert (
        cli.main(
            [
                "export",
                str(tmp_path / "task"),
                "--output",
                str(tmp_path / "x"),
                "--quantize",
                "int4",
            ]
        )
        == 2
    )
    assert cli.main(["evaluate", str(tmp_path / "task")]) == 2
    assert "give files of labelled examples to score" in capsys.readouterr().err


@pytest.mark.parametrize(
    "task,module",
    [
        ("classify", "sklearn"),
        ("tag", "nervaluate"),
        ("translate", "sacrebleu"),
        ("summarize", "rouge_score"),
    ],
)
def test_a_package_that_is_missing_is_told_before_the_training(task, module, tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else there(name)
    )
    config = TaskConfig(task=task, output=str(tmp_path / "task"), train=["missing.jsonl"])
    with pytest.raises(
        ConfigError,
        match=rf"needs {module}, which is not installed: pip install 'tfscale\[tasks\]'",
    ):
        finetune("missing", config)
    assert not (tmp_path / "task").exists()


def test_what_a_run_cannot_do(runs, tmp_path):
    rows = [{"text": "a", "label": "x"}] * 12
    files = {"train": [write(tmp_path / "train.jsonl", rows)], "output": str(tmp_path / "task")}
    with pytest.raises(DataError, match=r"have 1 label\(s\) \(x\); a task needs 2 or more"):
        finetune(runs("lstm"), TaskConfig(task="classify", **files))
    write(tmp_path / "train.jsonl", rows[:5] + [{"text": "b", "label": "y"}])
    with pytest.raises(DataError, match="6 training examples are too few to hold some out"):
        finetune(runs("lstm"), TaskConfig(task="classify", **files))
    write(tmp_path / "train.jsonl", rows + [{"text": "b", "label": "y"}])
    with pytest.raises(ConfigError, match="the run's context is 48 tokens"):
        finetune(runs("transformer"), TaskConfig(task="classify", sequence_length=99, **files))
