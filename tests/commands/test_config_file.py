"""`--config FILE` of every command: its words and options from YAML, checked as on the command line."""

import json

import pytest
import yaml

from tfscale import cli
from tfscale.commands.command import values_of
from tfscale.errors import ConfigError

WORDS = {
    "benchmark": {"target": "t"},
    "compare": {"data": "d", "output": "o", "families": ["lstm", "nnlm"]},
    "compress": {"run_dir": "r", "output": "o", "prune": {"sparsity": 0.5}},
    "correct": {"target": "t", "text": "a", "edit_cost": 3.5},
    "embed": {"target": "t", "text": ["a"], "output": "o", "pooling": "last"},
    "evaluate": {"target": "t", "text": ["a", "b"], "shots": 2},
    "explain": {"target": "t", "text": "a", "samples": 20},
    "export": {"run_dir": "r", "output": "o", "prefill_lengths": [4, 16], "quantize": "int4"},
    "fill": {"target": "t", "text": "a", "count": 2},
    "finetune": {"run_dir": "r", "task": "classify", "output": "o", "train": ["a"], "test": ["b"]},
    "generate": {"target": "t", "prompt": "a: b", "stop": ["x", "y"], "temperature": 0.5},
    "import": {"preset": "p", "output": "o", "stop_token": ["<end>"]},
    "predict": {"target": "t", "text": "a", "beams": 3},
    "prepare": {"output": "o", "source": {"web": ["a"], "code": ["b"]}, "lowercase": True},
    "quickstart": {"minutes": 1.5, "steps": 10},
    "swap": {"target": "r", "text": ["a"], "pairs": "p", "seed": 3},
    "trim": {"run_dir": "r", "text": ["a"], "output": "o", "min_count": 2},
    "vectors": {"data": "d", "output": "o", "dim": 12},
    "plan": {"model": {"family": "lstm", "hidden_dim": 32}, "devices": 2},
    "tpu-check": {"model": {"num_layers": 2}},
    "train": {"model": {"family": "gru"}, "train": {"steps": 7}, "data": "d", "output": "o"},
}
"""Command -> what a file says, in which its words stand under their names."""


def write(tmp_path, document):
    path = tmp_path / "options.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return str(path)


def found(options, document):
    """Returns the values of the options that a document names."""
    return {
        name: {key: options[f"{name}.{key}"] for key in value}
        if isinstance(value, dict) and name not in options
        else {key: options[name][key] for key in value}
        if isinstance(value, dict)
        else options[name]
        for name, value in document.items()
    }


def test_all_commands_are_here():
    assert set(WORDS) | {"launch"} == set(cli.COMMANDS)


@pytest.mark.parametrize("name", WORDS)
def test_words_and_options_come_from_a_file(name, tmp_path):
    command, path = cli.COMMANDS[name], write(tmp_path, WORDS[name])
    assert found(command.parse(["--config", path]), WORDS[name]) == WORDS[name]
    with pytest.raises(ConfigError, match=r"options.yaml: unknown key outputt"):
        command.parse(["--config", write(tmp_path, WORDS[name] | {"outputt": "x"})])


def test_the_command_line_comes_first(tmp_path):
    path = write(tmp_path, WORDS["generate"])
    options = cli.COMMANDS["generate"].parse(["other", "--temperature", "2", f"--config={path}"])
    assert (options.target, options.temperature, options.prompt) == ("other", 2.0, "a: b")
    assert options.stop == ["x", "y"]
    assert "config" not in values_of(options)


def test_the_file_of_train_is_a_word_or_an_option(tmp_path):
    path = write(tmp_path, WORDS["train"])
    for words in ([path], ["--config", path], ["--data", "d", f"--config={path}"]):
        options = cli.COMMANDS["train"].parse(words)
        assert (options.model.family, options.train.steps) == ("gru", 7)


def test_the_workers_have_a_file_of_their_own(tmp_path):
    path = write(tmp_path, {"workers": 3})
    train = write(tmp_path / "..", WORDS["train"])
    options = cli.COMMANDS["launch"].parse(["--config", path, "--", "train", "--config", train])
    assert options.workers == 3
    assert options.command == ["train", "--config", train, "--json"]


@pytest.mark.parametrize(
    ("name", "document", "message"),
    [
        ("evaluate", {"target": ["a"]}, "options.yaml: target: expected text; received ['a']"),
        ("evaluate", {"target": "t", "shots": "two"}, "shots: expected a whole number; received"),
        ("evaluate", {"target": "t", "choices": "piqua"}, "received 'piqua'; did you mean piqa?"),
        ("evaluate", {"text": ["a"]}, "RUN_DIR|FILE.tflite must be given"),
        ("evaluate", {"json": True}, "options.yaml: unknown key json"),
        ("export", {"run_dir": "r", "output": "o", "quantize": "int2"}, "int2 is not offered: "),
        ("compress", {"run_dir": "r", "output": "o", "prune": 0.5}, "prune should hold options"),
        ("train", {"config": "a.yaml"}, "options.yaml: unknown key config"),
    ],
)
def test_a_mistake_is_one_line(name, document, message, tmp_path, capsys):
    assert cli.main([name, "--config", write(tmp_path, document)]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and message in line


def test_a_whole_command_from_a_file(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("".join(f"line {n}\n" for n in range(200)))
    options = {"text": str(tmp_path / "a.txt"), "tokenizer": "byte", "documents": "line"}
    path = write(tmp_path, options | {"output": str(tmp_path / "data")})
    assert cli.main(["prepare", "--config", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == str(tmp_path / "data")
