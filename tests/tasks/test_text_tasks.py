"""Texts for texts learned for real, on made-up languages: a translation that turns the words round, and a summary that
keeps the words in capitals.
"""

import dataclasses
import json

import numpy as np
import pytest

from tests.exporting.exported import make_run
from tests.gpt2 import gpt2
from tfscale import cli
from tfscale.config import ExportConfig, GRUConfig
from tfscale.config.tasks import TaskConfig
from tfscale.device import load
from tfscale.errors import ConfigError, DataError
from tfscale.exporting.task import TaskSource, examples_of
from tfscale.exporting.writer import export_source
from tfscale.models import build_network
from tfscale.models.encoder_decoder import EncoderDecoder
from tfscale.models.prefix import PrefixLM
from tfscale.tasks.examples import Example, FieldNames, read_examples
from tfscale.tasks.finetune import finetune
from tfscale.tasks.kinds.translate import Translate
from tfscale.tasks.model import TaskModel, load_task
from tfscale.tasks.text_network import in_float32
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.special import SpecialTokens
from tfscale.text.tokenizers.training import train_tokenizer

OURS = "ba be bi bo da de di do".split()
THEIRS = "ma me mi mo na ne ni no".split()


def turned(rng):
    """Each word has another one in the other language, and the last comes first."""
    words = rng.integers(0, 8, rng.integers(2, 5))
    return {
        "source": " ".join(OURS[i] for i in words),
        "target": " ".join(THEIRS[i] for i in words[::-1]),
        "who": "short" if len(words) == 2 else "long",
    }


def capitals(rng):
    """The summary is the two words in capitals."""
    words = [OURS[i] for i in rng.integers(0, 8, 5)]
    for place in rng.choice(5, 2, replace=False):
        words[place] = words[place].upper()
    return {"text": " ".join(words), "summary": " ".join(word for word in words if word.isupper())}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def files(folder, make, train=1000, held_out=40):
    rng = np.random.default_rng(0)
    counts = {"train": train, "validation": held_out, "test": held_out}
    return {
        name: [write(folder / f"{name}.jsonl", [make(rng) for _ in range(count)])]
        for name, count in counts.items()
    }


def small_run(folder, words):
    tokenizer = train_tokenizer("word", [" ".join(words)] * 5, 40)
    config = gpt2(
        vocabulary_size=tokenizer.vocabulary_size,
        sequence_length=14,
        hidden_dim=32,
        num_layers=1,
        num_heads=4,
    )
    return make_run(folder, build_network(config), tokenizer)


def fitted(folder, run, make, **options):
    notes = []
    config = TaskConfig(
        output=str(folder / "task"),
        learning_rate=1e-2,
        dropout=0.0,
        global_batch_size=32,
        epochs=10,
        **files(folder, make),
        **options,
    )
    return finetune(run, config, notes.append), load_task(str(folder / "task")), notes


@pytest.fixture(scope="module")
def translated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translate")
    return folder, *fitted(
        folder, small_run(folder / "run", OURS + THEIRS), turned, task="translate"
    )


@pytest.fixture(scope="module")
def summarized(tmp_path_factory):
    folder = tmp_path_factory.mktemp("summarize")
    run = small_run(folder / "run", OURS + [word.upper() for word in OURS])
    return folder, *fitted(
        folder,
        run,
        capitals,
        task="summarize",
        architecture="encoder_decoder",
        label_field="summary",
        source_length=7,
        target_length=4,
    )


def test_a_prefix_lm_translates(translated, capsys):
    folder, summary, model, notes = translated
    assert notes[0].startswith("translate: 1,000 examples, prefix, ")
    test = summary["test"]
    assert test["exact_match"] > 0.8 > 0.0 == test["baseline"]["exact_match"]
    assert (
        test["bleu"] > 80 > 10 > test["baseline"]["bleu"]
        and test["chrf"] > 80 > 30 > test["baseline"]["chrf"]
    )
    assert summary["architecture"] == "prefix" and summary["cut"]["train"] == {
        "sources": 0,
        "targets": 0,
    }
    task = str(folder / "task")
    assert cli.main(["predict", task, "--text", "ba be do"]) == 0
    assert capsys.readouterr().out == "no me ma\n"
    words = ["evaluate", task, "--text", str(folder / "test.jsonl"), "--json"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["chrf"] == pytest.approx(
        test["chrf"]
    )
    assert cli.main([*words, "--slice-by", "who"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["metric"] == "chrf" and set(found["groups"]) == {"short", "long"}
    # What is to be written is not read: with and without it the same is predicted.
    examples = model.read([str(folder / "test.jsonl")])
    unknown = [dataclasses.replace(example, target="") for example in examples]
    assert model.predict(examples) == model.predict(unknown)


def test_its_file_translates_by_the_language_models_signatures(translated, capsys):
    folder, _, model, _ = translated
    report = export_source(
        TaskSource(model), ExportConfig(output=str(folder / "int8"), quantize="int8")
    )
    assert report["passed"] and report["compared_on"] == {"source": "test examples", "examples": 16}
    values = {row["name"]: row["value"] for row in report["checks"]}
    assert (
        values["equal_texts (xnnpack)"] > 0.8
        and 0 < values["relative_logit_error (xnnpack)"] < 0.05
        and values["relative_logit_error (float32 copy)"] < 1e-5
    )
    device = load(str(folder / "int8"))
    assert sorted(device._file.session.signatures) == ["decode", "prefill_7"]
    for text in ("ba be do", "di ba", "bo bo bi de"):
        for beams in (1, 3):
            assert device.predict_text(text, beams=beams) == model.predict_text(text, beams=beams)
    capsys.readouterr()
    assert cli.main(["predict", str(folder / "int8"), "--text", "ba be do", "--beams", "2"]) == 0
    assert capsys.readouterr().out == "no me ma\n"
    for command in (["generate", "--prompt", "a"], ["benchmark"]):
        assert cli.main([command[0], str(folder / "int8"), *command[1:]]) == 2
    assert "is not a file of a model of the next token" in capsys.readouterr().err
    assert (
        cli.main(["evaluate", str(folder / "int8"), "--text", str(folder / "test.jsonl"), "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["exact_match"] > 0.8
    with open(folder / "int8" / "README.md") as file:
        assert "| Equal texts of Keras and file | 1" in file.read()


def test_a_second_stop_token_ends_what_is_written(translated):
    """The word in the middle of what the model says is made one."""
    folder, _, model, _ = translated
    assert model.predict_text("ba be do")["text"] == "no me ma"
    stopping = load_task(str(folder / "task"))
    plain = stopping.task.tokenizer
    stops = SpecialTokens(stop_ids=(plain.encode("me")[0],))
    stopping.task.tokenizer = plain.with_special(stops)
    export_source(TaskSource(stopping), ExportConfig(output=str(folder / "stopping")))
    for writer in (stopping, load(str(folder / "stopping"))):
        for beams in (1, 2):
            assert writer.predict_text("ba be do", beams=beams)["text"] == "no"


@pytest.mark.slow
def test_an_encoder_decoder_summarizes(summarized, capsys):
    folder, summary, model, _ = summarized
    test = summary["test"]
    assert test["exact_match"] > 0.8 > 0.3 > test["baseline"]["exact_match"]
    assert test["rougeL"] > 0.9 > 0.6 > test["baseline"]["rougeL"]
    assert summary["architecture"] == "encoder_decoder" and model.network.target_length == 4
    assert model.predict_text("ba BE bi DO da") == {"text": "BE DO"}
    export_source(TaskSource(model), ExportConfig(output=str(folder / "export")))
    device = load(str(folder / "export"))
    assert sorted(device._file.session.signatures) == ["decode", "encode"]
    # A short source after a long one: nothing of the long one is left.
    for text in ("ba BE bi DO da", "DI BA", "bo BO bi DE da de di"):
        for beams in (1, 3):
            assert device.predict_text(text, beams=beams) == model.predict_text(text, beams=beams)


@pytest.mark.slow
def test_what_is_compared_when_the_examples_are_gone(summarized, translated):
    for _, _, model, _ in (summarized, translated):
        config = dataclasses.replace(model.config, train=["gone"], validation=[], test=[])
        task = type(model.task)(config, model.task.tokenizer, model.task.shape)
        compared = examples_of(TaskModel("", model.network, task))
        ids, counted = compared.ids, compared.counted
        assert compared.origin.startswith("random tokens")
        assert counted.sum(1).tolist() == [task.target_length] * 16
        assert model.logits(ids)[counted].shape[0] == 16 * task.target_length
        end, length = task.tokenizer.end_id, task.source_length
        assert (ids[:, 0] == end).all() and (ids[:, length - 1] == end).all()
        assert all(task.start_of(row) == task.start_of(ids[0]) for row in ids)


@pytest.mark.slow
def test_a_network_of_half_precision_is_exported_in_float32(translated, summarized):
    network, other = translated[2].network, summarized[2].network
    halves = [
        PrefixLM(build_network(network.base.config, "mixed_bfloat16"), end_id=network.end_id),
        EncoderDecoder.from_config(other.get_config() | {"precision": "mixed_bfloat16"}),
    ]
    for half, whole, length in zip(halves, (network, other), (14, 11), strict=True):
        half.set_weights(whole.get_weights())
        ids = np.array(
            [[whole.end_id, 3, 4, 5, whole.end_id, *[whole.end_id] * (length - 5)]], np.int32
        )
        assert in_float32(whole) is whole
        np.testing.assert_array_equal(in_float32(half)(ids).numpy(), whole(ids).numpy())
        gap = np.abs(half(ids).numpy() - whole(ids).numpy()).max()
        assert 0 < gap < 0.1 * np.abs(whole(ids).numpy()).max()


def test_low_rank_additions_and_what_is_cut(tmp_path):
    run = small_run(tmp_path / "run", OURS + THEIRS)
    config = TaskConfig(
        task="translate", output="-", train=["-"], lora_rank=2, source_length=4, target_length=3
    )
    task = Translate(config, run.tokenizer, Translate.shape_for(run, config, []))
    network = task.network(run)
    # A block of four dense layers of D = 32, D x rank + rank x F each.
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert trained == 2 * ((32 + 96) + (32 + 32) + (32 + 128) + (128 + 32))
    # Positions that no row has are left out.
    assert network.base.position_embedding.embeddings.shape == (7, 32)
    texts, notes = [("ba be", "ma"), ("ba be bi", "ma me mi"), ("ba be bi bo", "ma me mi mo")], []
    examples = [Example("", text, target=target) for text, target in texts]
    assert task.summarize_cuts({"train": examples}, notes.append) == {
        "architecture": "prefix",
        "cut": {"train": {"sources": 2, "targets": 1}},
    }
    assert notes == ["train: 2 sources and 1 targets are too long and were cut"]


def test_what_does_not_fit(tmp_path, capsys):
    options = {
        "output": str(tmp_path / "out"),
        "train": [write(tmp_path / "a.jsonl", [{"text": "a", "target": "b"}] * 12)],
    }
    run = small_run(tmp_path / "run", OURS)
    with pytest.raises(
        ConfigError, match="source_length=8 and target_length=7 need 15 positions, and the run has"
    ):
        finetune(run, TaskConfig(task="translate", source_length=8, **options))
    gru = make_run(
        tmp_path / "gru",
        build_network(GRUConfig(vocabulary_size=257, embedding_dim=4, hidden_dim=4)),
        ByteTokenizer(),
    )
    with pytest.raises(
        ConfigError, match="needs a run of --model.family transformer; a GRULM cannot"
    ):
        finetune(gru, TaskConfig(task="summarize", **options))
    assert not (tmp_path / "out").exists()
    for given, message in (
        (
            {"task": "classify", "architecture": "prefix"},
            "architecture is for summarize and translate",
        ),
        ({"task": "tag", "source_length": 8}, "source_length is for summarize and translate"),
        (
            {"task": "translate", "sequence_length": 8},
            "sequence_length is for answer, classify and tag; ",
        ),
        (
            {"task": "translate", "freeze": True},
            "freeze is for answer, classify and tag; task='translate' has no use",
        ),
        ({"task": "summarize", "architecture": "encoder_decoder", "lora_rank": 2}, "take prefix"),
        ({"task": "translate", "target_length": 1}, "target_length=1 is out of range"),
        (
            {"task": "translate", "architecture": "rnn"},
            "architecture: expected one of prefix, encoder_decoder; received 'rnn'",
        ),
        ({"task": "translate", "labels_separator": ","}, "labels_separator is for classify"),
    ):
        with pytest.raises(ConfigError, match=message):
            TaskConfig(**{**options, **given})
    for row, message in (
        ({"text": "a"}, "there is no 'target'"),
        ({"text": "a", "target": " "}, "target is empty"),
    ):
        with pytest.raises(DataError, match=f"line 1: {message}"):
            read_examples([write(tmp_path / "b.jsonl", [row])], "translate")
    row = {"source": "a", "target": "b", "text": "c", "label": "d"}
    paths = [write(tmp_path / "c.jsonl", [row])]
    [found] = read_examples(paths, "translate", FieldNames("source", "target"))
    assert (found.text, found.target) == ("a", "b")
    [found] = read_examples(paths, "translate")
    assert (found.text, found.target) == ("c", "d")
    with pytest.raises(DataError, match="there is no 'src'"):
        read_examples(paths, "translate", FieldNames("src"))


def test_beams_are_for_texts_alone(translated, capsys):
    model = translated[2]
    with pytest.raises(ConfigError, match="beams=0 is out of range"):
        model.predict_text("ba", beams=0)
    with pytest.raises(ConfigError, match="the task translate takes no question"):
        model.predict_text("ba", question="what?")
