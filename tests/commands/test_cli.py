"""The command line: what is accepted, how a mistake is told, what goes to stdout and stderr, exit codes."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import types

import numpy as np
import pytest

import tfscale
from tfscale import artifacts, cli, commands
from tfscale.commands import evaluate, export, generate, prepare, train
from tfscale.commands.parser import option_types
from tfscale.commands.suggestions import shown
from tfscale.commands.table import SECTIONS
from tfscale.compat.quiet import load_tensorflow
from tfscale.config import ExportConfig, PrepareConfig, SamplingConfig, TrainConfig
from tfscale.config.fields import is_rare
from tfscale.config.models import network_families
from tfscale.data.manifest import Split
from tfscale.errors import CheckpointError, ConfigError
from tfscale.text.cleaning import Cleaner

TRAIN = ["train", "--data", "d", "--output", "o"]


@pytest.fixture
def write_yaml(tmp_path):
    def write(text):
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def replace_module(monkeypatch):
    """Replaces a module that is slow to import by functions; TensorFlow is there, so no line announces it."""
    load_tensorflow()
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")

    def replace(name, **functions):
        module = types.ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)

    return replace


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command trian; did you mean train?"),
        (["zzz"], "unknown command zzz (see tfscale --help)"),
        (["--versoin"], "unknown option --versoin; did you mean --version?"),
        (
            ["prepare", "--vocab-size", "5"],
            "unknown option --vocab-size; did you mean --vocabulary-size?",
        ),
        (
            ["prepare", "--vocabulary_sise=5"],
            "unknown option --vocabulary_sise; did you mean --vocabulary-size?",
        ),
        (["prepare", "--qqqq"], "unknown option --qqqq"),
        (["prepare", "-o", "x"], "unknown option -o; did you mean --output?"),
        (["prepare", "--text", "a"], "--output must be given (see tfscale prepare --help)"),
        (["prepare", "--output"], "--output needs a value: text"),
        (
            ["prepare", "--output", "--text", "a"],
            "--output needs a value: text (for one that starts with --, write --output=--text)",
        ),
        (["prepare", "--text", "--output", "o"], "--text needs a value: text, once or more"),
        (
            ["prepare", "--output", "o", "--vocabulary-size", "abc"],
            "--vocabulary-size: expected a whole number; received 'abc'",
        ),
        (
            ["prepare", "--output", "o", "--vocabulary-size", "1.5"],
            "--vocabulary-size: expected a whole number; received '1.5'",
        ),
        (
            ["evaluate", "run", "--text", "a.txt", "--split", "test"],
            "split='test' is of a data folder, and text names files; give one",
        ),
        (
            ["evaluate", "run", "--text-field", "body"],
            "text_field='body' is of records in files; name them: text",
        ),
        (
            ["generate", "run", "--top-k", "3"],
            "top_k=3 has no effect with temperature=0, which takes the most likely token; give a"
            " temperature such as 0.8",
        ),
        (
            ["train", "--data", "d", "--output", "o", "--train.steps", "1e3"],
            "--train.steps: expected a whole number; received '1e3'",
        ),
        (
            ["prepare", "--output", "o", "--test-fraction", "a lot"],
            "--test-fraction: expected a number; received 'a lot'",
        ),
        (
            ["prepare", "--output", "o", "--corpus", "python"],
            "--corpus: expected one of python-stdlib, python-docs; received 'python'",
        ),
        (
            ["prepare", "--output", "o", "--lowercase=maybe"],
            "--lowercase: expected true or false; received 'maybe'",
        ),
        (
            ["prepare", "--output", "o", "stray"],
            "unexpected word 'stray'; did you mean --text 'stray'? (see tfscale prepare --help)",
        ),
        (
            ["generate", "run", "And Moses"],
            "unexpected word 'And Moses'; did you mean --prompt 'And Moses'? (see tfscale generate --help)",
        ),
        (
            ["benchmark", "export", "stray"],
            "unexpected word 'stray' (see tfscale benchmark --help)",
        ),
        (
            [*TRAIN, "--model.use_bias", "yes"],
            "--model.use_bias: expected true or false; received 'yes'",
        ),
        (
            [*TRAIN, "--train.lr", "1"],
            "unknown option --train.lr; did you mean --train.learning_rate?",
        ),
        (
            [*TRAIN, "--batch-size", "1"],
            "unknown option --batch-size; did you mean --train.global_batch_size?",
        ),
        (
            [*TRAIN, "--model.units", "1"],
            "unknown option --model.units; did you mean --model.hidden_dim?",
        ),
        ([*TRAIN, "--train.qqqq", "1"], "unknown option --train.qqqq"),
        (
            [*TRAIN, "--train.optimizer", "admaw"],
            "--train.optimizer: expected one of adafactor, adagrad, adam, adamax, adamw, lamb, lion, muon, nadam, rmsprop, "
            "sgd; received 'admaw'; did you mean adamw?",
        ),
        (
            [*TRAIN, "--train.optimizer", "lion", "--train.epsilon", "1e-6"],
            "train.epsilon=1e-06 is no option of train.optimizer=lion; it belongs to adagrad, adam, adamax, adamw, "
            "lamb, muon, nadam, rmsprop",
        ),
        (
            [*TRAIN, "--train.optim", "adam"],
            "unknown option --train.optim; did you mean --train.optimizer?",
        ),
        (
            [*TRAIN, "--epochs", "3"],
            "unknown option --epochs; did you mean --train.epochs?",
        ),
        (
            [*TRAIN, "--train.device", "GPU:3"],
            "unknown option --train.device; --train.strategy says where to train, and the environment variable "
            "CUDA_VISIBLE_DEVICES which GPUs there are",
        ),
        (
            ["launch", "train", "--data", "d"],
            "unexpected 'train'; the command of the workers stands after --: tfscale launch --workers 2 -- train "
            "--data ...",
        ),
        (["prepare", "--output", "o", "--json=yes"], "--json takes no value; received 'yes'"),
        (
            ["prepare", "--output", "o", "--text", "a", "--test-fraction", "0.7"],
            "test_fraction=0.7 is out of range; expected 0 to 0.5",
        ),
        (["train"], "--data must be given: the data folder that tfscale prepare wrote"),
        (["train", "--data", "d"], "--output must be given: the run folder to write"),
        ([*TRAIN, "--steps", "3"], "unknown option --steps; did you mean --train.steps?"),
        (
            [*TRAIN, "--train.stpes", "3"],
            "unknown option --train.stpes; did you mean --train.steps?",
        ),
        ([*TRAIN, "--train.steps", "0"], "train.steps=0 is out of range; expected 1 or more"),
        (
            [*TRAIN, "--train", "file"],
            "unknown option --train; did you mean --train.steps?",
        ),
        (
            [*TRAIN, "--model.family", "cnn"],
            "--model.family: expected one of bert, bilstm, gru, lstm, ngram, nnlm, rnn, transformer; received 'cnn'",
        ),
        (
            [*TRAIN, "--model.preset", "lama-nano"],
            "no preset 'lama-nano'; did you mean llama-nano?",
        ),
        (
            [*TRAIN, "--model.family", "lstm", "--model.num_heads", "2"],
            "unknown option --model.num_heads; it belongs to --model.family bert or transformer",
        ),
        (["evaluate"], "RUN_DIR|FILE.tflite must be given (see tfscale evaluate --help)"),
        (["evaluate", "x", "--text", "a", "--data", "b"], "give either text or data, not both"),
        (["quickstart", "--minutes", "0"], "minutes=0.0 is out of range; expected above 0 to 1440"),
        (
            ["quickstart", "--steps", "-1"],
            "steps=-1 is out of range; expected 0 (from --minutes) or more",
        ),
        (
            ["generate", "no/such/place"],
            "no/such/place does not exist; give a run folder or a .tflite file",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, message, capsys):
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {message}\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  step: 3\n", "unknown key train.step; did you mean train.steps?"),
        ("trian:\n  steps: 3\n", "unknown key trian; did you mean train?"),
        ("train: 3\n", "train should hold options such as train.steps; received 3"),
        (
            f"train: {['x'] * 300}\n",
            "train should hold options such as train.steps; received "
            + str(["x"] * 300)[:80]
            + "...",
        ),
        ("train:\n  steps: abc\n", "train.steps: expected a whole number; received 'abc'"),
        ("train:\n  steps: 1.5\n", "train.steps: expected a whole number; received 1.5"),
        ("train:\n  log_every:\n", "train.log_every: expected a whole number; received null"),
        (
            "model:\n  hidden_dim: null\n",
            "model.hidden_dim: expected a whole number; received null",
        ),
        ("train:\n  xla: maybe\n", "train.xla: expected one of auto, on, off; received 'maybe'"),
        (
            "model:\n  family: lstm\n  num_heads: 2\n",
            "unknown key model.num_heads; it belongs to --model.family bert or transformer",
        ),
        ("json: true\n", "unknown key json"),
    ],
)
def test_a_mistake_in_yaml_names_the_file(text, message, write_yaml, capsys):
    path = write_yaml(text)
    assert cli.main(["train", path, "--data", "d", "--output", "o"]) == 2
    assert capsys.readouterr().err == f"error: {path}: {message}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "is not valid YAML"),
        ("- 1\n", "received list"),
        ("[" * 9999, "is not valid YAML"),
        ("a: " + "1" * 5000, "is not valid YAML"),
        ("train: [*a]\n", "is not valid YAML: .*undefined alias"),
        (
            "a: &a [x]\nb: &b [" + "*a," * 999 + "]\nmodel: [" + "*b," * 999 + "]\n",
            "its aliases make more than 100,000",
        ),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(text, expected, write_yaml):
    path = write_yaml(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        train.COMMAND.parse([path])
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_yaml_file_is_named():
    with pytest.raises(ConfigError, match=r"cannot read the configuration no\.yaml: No such file"):
        train.COMMAND.parse(["no.yaml"])


@pytest.mark.parametrize(
    "words",
    [
        ["--text", "a", "b c", "d"],
        ["--text", "a", "--text", "b c", "--text=d"],
        ["--text", "a", "b c", "--text", "d"],
    ],
)
def test_a_list_is_one_option_or_several(words):
    options = prepare.COMMAND.parse([*words, "--output", "o"])
    assert options.text == ["a", "b c", "d"]


@pytest.mark.parametrize("text", ["[a]", "null", "1", "a, b", 'say "hi"', "{x: 1}", "été", "-"])
def test_text_is_taken_as_it_is(text):
    assert (
        prepare.COMMAND.parse(["--text", text, "--output", text]).as_dict() | {}
        == prepare.COMMAND.parse([f"--text={text}", f"--output={text}"]).as_dict()
    )
    options = prepare.COMMAND.parse(["--text", text, "--output", text])
    assert (options.text, options.output) == ([text], text)
    assert generate.COMMAND.parse(["run", "--prompt", text]).prompt == text


def test_a_prompt_may_look_like_an_option():
    assert generate.COMMAND.parse(["run", "--prompt", "-x"]).prompt == "-x"
    assert generate.COMMAND.parse(["run", "--prompt", "--help me"]).prompt == "--help me"
    assert generate.COMMAND.parse(["run", "--prompt=--json"]).prompt == "--json"


def test_hyphens_and_underscores_are_the_same():
    hyphens = prepare.COMMAND.parse(["--output", "o", "--vocabulary-size", "5", "--text-field=t"])
    underscores = prepare.COMMAND.parse(
        ["--output", "o", "--vocabulary_size", "5", "--text_field=t"]
    )
    assert hyphens == underscores
    assert hyphens.vocabulary_size == 5
    assert (
        train.COMMAND.parse([*TRAIN[1:], "--train.global-batch-size", "7"]).train.global_batch_size
        == 7
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], False),
        (["--lowercase"], True),
        (["--lowercase", "true"], True),
        (["--lowercase", "false"], False),
    ],
)
def test_a_switch_takes_a_value_or_none(words, expected):
    assert prepare.COMMAND.parse([*words, "--output", "o"]).lowercase is expected


def test_lists_of_numbers():
    assert export.COMMAND.parse(["run", "--output", "o"]).prefill_lengths == [8, 64]
    assert export.COMMAND.parse(
        ["run", "--output", "o", "--prefill-lengths", "4", "16", "32"]
    ).prefill_lengths == [4, 16, 32]


def test_yaml_gives_values_and_options_go_before_them(write_yaml):
    path = write_yaml(
        "model:\n  family: lstm\n  hidden_dim: 32\n"
        "train:\n  xla: off\n  learning_rate: 1e-2\n  steps: 5\n  tensorboard: false\n"
        "data: from-yaml\noutput: o\n"
    )
    options = train.COMMAND.parse([path, "--train.steps", "7", "--data", "d"])
    assert (options.model.family, options.model.hidden_dim, options.model.num_layers) == (
        "lstm",
        32,
        1,
    )
    assert (options.train.xla, options.train.learning_rate, options.train.steps) == ("off", 0.01, 7)
    assert options.train.tensorboard is False
    assert (options.data, options.output) == ("d", "o")


def test_the_config_of_a_run_trains_another(write_yaml):
    path = write_yaml(
        "model:\n  family: transformer\n  num_heads: 2\ntrain:\n  steps: 5\n"
        "data: d\ndata_digest: abc\ntokenizer_digest: def\n"
    )
    options = train.COMMAND.parse([path, "--output", "another"])
    assert (options.model.num_heads, options.data, options.output) == (2, "d", "another")


def test_a_preset_gives_values_and_yaml_and_options_go_before_them(write_yaml):
    options = train.COMMAND.parse(
        [*TRAIN[1:], "--model.preset", "llama-nano", "--model.num_layers", "2"]
    )
    assert (options.model.positions, options.model.num_kv_heads, options.model.num_layers) == (
        "rope",
        2,
        2,
    )
    options = train.COMMAND.parse(
        [write_yaml("model:\n  preset: llama-nano\n  num_kv_heads: 4\n"), *TRAIN[1:]]
    )
    assert (options.model.positions, options.model.num_kv_heads, options.model.num_layers) == (
        "rope",
        4,
        4,
    )


def test_an_option_chooses_the_family_over_yaml(write_yaml):
    options = train.COMMAND.parse(
        [write_yaml("model:\n  family: lstm\n"), *TRAIN[1:], "--model.family", "transformer"]
    )
    assert options.model.family == "transformer"
    assert options.model.num_heads == 4


def test_train_hands_over_the_configs(replace_module, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    calls = []

    def fake_train(model_config, train_config, **rest):
        calls.append((model_config, train_config, rest))
        (tmp_path / "o").mkdir()
        (tmp_path / "o" / "config.yaml").write_text("model:\n  family: lstm\n")
        return {
            "steps": 3,
            "tokens": 96,
            "loss": 1.5,
            "tokens_per_second": 12345.6,
            "validation": {"perplexity": 2.5},
            "result": "best",
            "result_step": 2,
        }

    replace_module("tfscale.runs.train", train=fake_train)
    assert (
        cli.main(
            [*TRAIN, "--model.family", "lstm", "--model.hidden_dim", "8", "--train.steps", "3"]
        )
        == 0
    )
    [(model_config, train_config, rest)] = calls
    assert model_config == network_families()["lstm"](hidden_dim=8)
    assert train_config == TrainConfig(steps=3)
    assert rest == {"data": "d", "output": "o", "progress": True}
    out, _, uses = capsys.readouterr().out.partition("\n\n")
    assert uses == (
        "The model is in o, the weights of step 2 with the lowest validation loss. What you can do with it:\n"
        "  tfscale generate o --prompt TEXT\n  tfscale export o --output export --quantize int8\n"
    )
    assert [line.split() for line in out.splitlines()] == [
        ["steps", "3"],
        ["tokens", "96"],
        ["training", "loss", "1.5"],
        ["tokens", "per", "second", "12,346"],
        ["validation", "perplexity", "2.5"],
    ]


def test_a_stopped_training_says_how_to_go_on(replace_module, capsys):
    summary = {
        "steps": 1200,
        "tokens": 9,
        "loss": 2.0,
        "tokens_per_second": 3.0,
        "interrupted": "SIGTERM",
        "validation": None,
    }
    replace_module("tfscale.runs.train", train=lambda *_, **__: summary)
    assert cli.main(TRAIN) == 75
    assert (
        "stopped by SIGTERM at step 1,200; the same command goes on from there"
        in capsys.readouterr().out
    )


def test_a_reader_that_went_away_gets_no_traceback():
    code = "import sys, time; from tfscale.cli import main; sys.stdin.readline(); sys.exit(main(['--help']))"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert error == ""


def test_prepare_hands_over_its_config(replace_module, capsys):
    seen = []

    def fake_prepare(config, progress, texts):
        assert texts is None
        seen.append(config)
        split = Split(2, 1000, 3500, [], unknown_tokens=25)
        return types.SimpleNamespace(
            splits={"train": split},
            vocabulary_size=300,
            cleaner=Cleaner(lowercase=True),
            counts={"files": 2, "dropped/gopher_quality/word_count": 1234},
        )

    replace_module("tfscale.data.prepare", prepare=fake_prepare)
    assert (
        cli.main(["prepare", "--text", "a", "b", "--output", "o", "--tokenizer", "byte", "--json"])
        == 0
    )
    assert seen == [PrepareConfig(text=["a", "b"], output="o", tokenizer="byte")]
    assert json.loads(capsys.readouterr().out) == {
        "output": "o",
        "vocabulary_size": 300,
        "cleaning": ["lowercase"],
        "splits": {"train": {"documents": 2, "tokens": 1000, "bytes": 3500, "unknown_tokens": 25}},
        "counts": {"files": 2, "dropped/gopher_quality/word_count": 1234},
    }
    cli.main(["prepare", "--text", "a", "--output", "o"])
    shown = capsys.readouterr().out
    assert (
        "3.500" in shown
        and "25 (2.5 %)" in shown
        and "text and bytes as cleaned: lowercase" in shown
        and re.search(r"dropped: gopher quality: word count +│ +1,234 ", shown)
    )


def test_json_keeps_stdout_for_itself(replace_module, capsys):
    def chatty(*_, **__):
        print("Epoch 1/1")
        return {"loss": np.float32(0.5), "steps": np.int64(3), "text": "é"}

    replace_module("tfscale.runs.train", train=chatty)
    assert cli.main([*TRAIN, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out == '{"loss": 0.5, "steps": 3, "text": "é", "output": "o"}\n'
    assert captured.err == "Epoch 1/1\n"


def test_exit_codes(replace_module, capsys):
    def raising(error):
        def function(*_, **__):
            raise error

        replace_module("tfscale.runs.train", train=function)

    raising(CheckpointError("run is a run of another model"))
    assert cli.main(TRAIN) == 2
    assert capsys.readouterr().err == "error: run is a run of another model\n"
    raising(KeyboardInterrupt())
    assert cli.main(TRAIN) == 130
    assert capsys.readouterr().err == "interrupted\n"
    raising(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        cli.main(TRAIN)


class Letters:
    """Stands for a decoder and a tokenizer: the prompt's next letter, for ever."""

    end_id, unknown_id, context_length, vocabulary_size = 0, ord("?"), None, 128
    stop_ids, lossless, adds_spaces = (0,), True, False
    cleaner = Cleaner(collapse_whitespace=True)

    def reset(self):
        pass

    def feed(self, ids):
        return np.eye(128)[ids[-1] + 1]

    def encode(self, text, parse_special=False):
        return [ord(letter) for letter in text]

    def prompt_ids(self, ids):
        return [self.end_id, *ids]

    def decode(self, ids):
        return "".join(map(chr, ids))


@pytest.fixture
def letters(monkeypatch):
    from tfscale.artifacts.exported import FileArtifact
    from tfscale.device import DeviceModel
    from tfscale.files.description import Description

    model = Letters()
    file = FileArtifact("model.tflite", DeviceModel("model.tflite", model, model, Description(), 1))
    monkeypatch.setattr(artifacts, "open", lambda path, threads: file)
    return file.path


def test_generate_streams_prompt_and_completion(letters, monkeypatch, capsys):
    class Stream:
        def __init__(self, tokenizer, previous):
            self.tokenizer = tokenizer

        def push(self, token):
            return self.tokenizer.decode([token])

        def flush(self):
            return ""

    monkeypatch.setattr("tfscale.inference.generation.StreamDecoder", Stream)
    assert (
        cli.main(["generate", letters, "--prompt", "ab", "--max-tokens", "9", "--stop", "g", "x"])
        == 0
    )
    captured = capsys.readouterr()
    assert captured.out == "abcdef\n"
    assert "[5 tokens" in captured.err and "stopped by stop]" in captured.err
    assert cli.main(["generate", letters, "--prompt", "ab", "--max-tokens", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result.pop("tokens_per_second") > 0
    assert result == {
        "prompt": "ab",
        "text": "cde",
        "prompt_tokens": 3,
        "tokens": 3,
        "stopped_by": "length",
        "unknown_prompt_tokens": 0,
    }
    assert cli.main(["generate", letters, "--prompt", "  a??  ?", "--max-tokens", "1"]) == 0
    # The prompt is cleaned: "a?? ?" has five tokens.
    assert (
        "note: 3 of the prompt's 5 tokens are unknown to the model: it has not read"
        in capsys.readouterr().err
    )


def test_evaluate_chooses_by_target(monkeypatch, tmp_path, capsys):
    calls = []

    def fake(kind):
        def score(target, **rest):
            calls.append((kind, target, rest))
            return {
                "nll_per_token": 1.0,
                "perplexity": 2.7182818,
                "bits_per_byte": None,
                "tokens": 4,
                "bytes": None,
            }

        return score

    from tfscale import device
    from tfscale.artifacts import run as run_artifact
    from tfscale.device.scorer import ScoringModel
    from tfscale.evaluation import evaluate as evaluation

    model = object.__new__(ScoringModel)
    loads = []
    monkeypatch.setattr(
        device, "load", lambda path, threads: loads.append((path, threads)) or model
    )
    opened = types.SimpleNamespace(
        directory="run",
        summary={"completed": False, "steps": 200},
        train_config=TrainConfig(steps=300),
    )
    monkeypatch.setattr(run_artifact, "load_run", lambda path: opened)
    monkeypatch.setattr(run_artifact, "evaluate_run", fake("run"))
    monkeypatch.setattr(evaluation, "evaluate_file", fake("file"))
    run, exported = tmp_path / "run", tmp_path / "export"
    run.mkdir()
    exported.mkdir()
    (exported / "model.tflite").write_text("")
    assert cli.main(["evaluate", str(run), "--text", "a", "b"]) == 0
    captured = capsys.readouterr()
    assert "perplexity     2.718" in captured.out
    assert f"note: {run} was stopped at step 200 of 300: these are its last weights" in captured.err
    assert (
        cli.main(["evaluate", str(exported), "--data", "d", "--split", "test", "--threads", "2"])
        == 0
    )
    assert calls == [
        (
            "run",
            opened,
            {
                "data_dir": None,
                "split": "validation",
                "text_files": ["a", "b"],
                "text_field": "text",
            },
        ),
        (
            "file",
            model,
            {"data_dir": "d", "split": "test", "text_files": None, "text_field": "text"},
        ),
    ]
    assert loads == [(str(exported), 2)]


def help_text(words, capsys, option="--help"):
    with pytest.raises(SystemExit) as caught:
        cli.main([*words, option])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_full_help_of_train_lists_every_knob_of_every_family(capsys):
    text = help_text(["train"], capsys, "--help-all")
    for config, section in [
        (TrainConfig, "train"),
        *((config, "model") for config in network_families().values()),
    ]:
        for field in dataclasses.fields(config):
            assert f"--{section}.{field.name} " in text
    # Units come from the fields' docstrings.
    assert "--train.warmup_steps N Optimizer steps over which the learning rate rises" in text
    assert "--model.embedding_dim N Width of the token embedding." in text


def test_the_help_of_train_is_short_and_says_how_to_see_the_rest(capsys):
    text = help_text(["train"], capsys)
    common = {field.name for field in dataclasses.fields(TrainConfig) if not is_rare(field)}
    shown = set(re.findall(r"--train\.(\w+) ", text))
    assert shown == common and {"steps", "learning_rate", "precision"} < common
    assert "--train.beta_1" not in text and "With --model.family" not in text
    # Those of the class itself come before those of its bases.
    assert text.index("--train.steps ") < text.index("--train.micro_batches ")
    count = len(
        re.findall(
            r"--\S+ ", help_text(["train"], capsys, "--help-all").split("With --model.family")[0]
        )
    )
    hidden = count - len(
        re.findall(r"--\S+ ", text.split("tfscale train --help-all also lists")[0])
    )
    assert (
        f"tfscale train --help-all also lists {hidden} advanced options and the options of the families bert"
        in text
    )
    lstm = help_text(["train", "--model.family", "lstm"], capsys)
    assert "--model.embedding_dim N" in lstm and "--model.num_heads" not in lstm


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_option_is_in_one_of_the_two_helps(name):
    parser = cli.COMMANDS[name].build_parser()
    short, full = parser.help_text(), parser.help_text(everything=True)
    for key in option_types(parser):
        assert re.search(rf"^  .*{re.escape(shown(key))}\b", full, re.MULTILINE), key
    missing = [key for key in option_types(parser) if shown(key) not in short]
    assert bool(missing) == (f"tfscale {name} --help-all" in short)
    # Asking for one help does not change the other.
    assert parser.help_text() == short


def test_a_rare_option_is_an_option_like_any_other(write_yaml):
    options = train.COMMAND.parse([*TRAIN[1:], "--train.beta_1", "0.8"])
    assert (options.train.beta_1, options.train.log_every) == (0.8, 20)
    path = write_yaml("train:\n  log_every: 3\n")
    assert train.COMMAND.parse([path, *TRAIN[1:]]).train.log_every == 3


@pytest.mark.parametrize(
    ("command", "config"),
    [("prepare", PrepareConfig), ("export", ExportConfig), ("generate", SamplingConfig)],
)
def test_help_has_a_line_for_every_field(command, config, capsys):
    text = help_text([command], capsys, "--help-all")
    for field in dataclasses.fields(config):
        assert f"--{field.name.replace('_', '-')} " in text


def test_help_shows_a_sign_for_percent_as_it_is(capsys):
    assert "as in 2% or 0.02." in help_text(["compress"], capsys)


def test_overview(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert capsys.readouterr().out == text
    for name in cli.COMMANDS:
        assert f"\n  {name} " in text
    assert max(map(len, text.splitlines())) < 100
    assert [line for line in text.splitlines() if line.endswith(":")] == [
        f"{heading}:" for heading in SECTIONS
    ]
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tfscale {cli.__version__}\n"


HEAVY = ["tensorflow", "keras", "numpy", "rich", "matplotlib", "ai_edge_litert"]
PARSING = ["jsonargparse", "yaml", "argparse", "tfscale.config"]


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["--help"], [*HEAVY, *PARSING]),
        (["--version"], [*HEAVY, *PARSING]),
        (["trian"], [*HEAVY, *PARSING]),
        (["--hlep"], [*HEAVY, *PARSING]),
        (["train", "--help"], [*HEAVY, "docstring_parser"]),
        (["train", "--help-all"], HEAVY),
        (["train", "--trian.steps", "3"], HEAVY),
        (["prepare", "--help"], HEAVY),
        (["launch", "--help"], HEAVY),
        (["generate", "--help"], HEAVY),
    ],
)
def test_nothing_heavy_is_loaded_for_help_and_mistakes(words, unneeded):
    code = (
        "import sys\nfrom tfscale.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        f"loaded = set({unneeded!r}) & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["help", "train"], ["train", "-h"]])
def test_other_ways_to_ask_for_help(words, capsys):
    with pytest.raises(SystemExit):
        cli.main(words)
    assert capsys.readouterr().out.startswith("Usage: tfscale train [CONFIG.yaml] [options]")
    with pytest.raises(SystemExit):
        cli.main(["trim", "-h"])
    usage = "Usage: tfscale trim RUN_DIR --text TEXT ... --output OUTPUT [options]\n"
    assert capsys.readouterr().out.startswith(usage)
    assert cli.main(["help"]) == 0
    assert capsys.readouterr().out == cli.usage() + "\n"


def test_tensorflow_starts_silently():
    code = "from tfscale.compat.quiet import load_tensorflow; load_tensorflow(); import sys, tensorflow"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code + "; print('after', file=sys.stderr)"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "after\n")


def test_a_command_says_that_tensorflow_is_loaded_and_leaves_out_what_none_needs():
    code = (
        "import sys\n"
        "from tfscale.compat.quiet import UNNEEDED, begin_command, load_tensorflow\n"
        "notes = []\n"
        "begin_command(notes.append)\n"
        "load_tensorflow()\n"
        "import keras\n"
        "assert not set(UNNEEDED) & set(sys.modules), set(UNNEEDED) & set(sys.modules)\n"
        "import matplotlib\n"  # Later it is there like any other library.
        "load_tensorflow()\n"
        "assert notes == ['loading TensorFlow ...'], notes\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_program_that_imports_tfscale_has_keras_with_all_it_finds():
    code = (
        "import sys\nfrom tfscale.compat.quiet import load_tensorflow\n"
        "load_tensorflow()\nassert 'matplotlib' in sys.modules\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_tensorflow_that_does_not_start_says_why(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'no such library')\nraise ImportError('broken')\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from tfscale.compat.quiet import load_tensorflow; load_tensorflow()"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert (
        done.stderr.startswith("no such libraryTraceback") and "ImportError: broken" in done.stderr
    )


def test_every_command_is_complete_and_has_its_function():
    for name, command in cli.COMMANDS.items():
        # A module cannot be called `import`.
        file = {"import": "import_preset"}.get(name, name.replace("-", "_"))
        assert command.run.__module__ == f"{commands.__name__}.{file}"
        assert command.name == name
        # The function of a command has its name, with an underscore where Python has another use for that.
        name = name.replace("-", "_")
        assert callable(
            getattr(tfscale, {"import": "import_", "compress": "compress_"}.get(name, name))
        )
    assert set(cli.COMMANDS) == {
        "quickstart",
        "prepare",
        "train",
        "evaluate",
        "generate",
        "export",
        "benchmark",
        "launch",
        "plan",
        "tpu-check",
        "compress",
        "trim",
        "fill",
        "correct",
        "compare",
        "finetune",
        "predict",
        "vectors",
        "import",
        "explain",
        "swap",
        "embed",
    }
    assert evaluate.COMMAND.parse(["run"]).split == "validation"


def test_lists_take_any_text():
    words = ["🙂", "𠮷", "a, b", "]", '"', "yes", "1e3", "1", "é\n", "it's"]
    assert generate.COMMAND.parse(["run", "--prompt", "x", "--stop", *words]).stop == words


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "tfscale", "trai"], capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean" in done.stderr and "train" in done.stderr
