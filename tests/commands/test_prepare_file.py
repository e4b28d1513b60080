"""`tfscale prepare --config FILE`: the options of the command line and of Python, from YAML."""

import dataclasses

import pytest
import yaml

from tfscale.commands.parser import build_config
from tfscale.commands.prepare import COMMAND
from tfscale.config import PrepareConfig
from tfscale.errors import ConfigError


def parsed(tmp_path, text, *words):
    path = tmp_path / "prepare.yaml"
    path.write_text(text)
    return build_config(PrepareConfig, COMMAND.parse(["--config", str(path), *words]))


def test_a_file_says_what_python_says(tmp_path):
    config = PrepareConfig(
        output="out",
        source={"web": ["a", "b"], "code": ["c"]},
        documents="line",
        validation_fraction=0.1,
        filters=["c4"],
        near_duplicates=0.8,
        lowercase=True,
    )
    given = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    assert parsed(tmp_path, yaml.safe_dump(given)) == config


def test_words_overrule_the_file_and_one_of_a_list_may_stand_alone(tmp_path):
    text = "text: a.txt\noutput: out\ndocuments: line\nshards: 3\n"
    found = parsed(tmp_path, text, "--documents", "paragraph", "--output", "other")
    assert found == PrepareConfig(text=["a.txt"], output="other", documents="paragraph", shards=3)
    assert parsed(tmp_path, "text: a.txt\n", "--output", "o") == PrepareConfig(
        text=["a.txt"], output="o"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokenizr: byte", "prepare.yaml: unknown key tokenizr; did you mean tokenizer?"),
        ("shards: many", "prepare.yaml: shards: expected a whole number; received 'many'"),
        ("shards:", "prepare.yaml: shards: expected a whole number; received null"),
        ("output: [a, b]", "prepare.yaml: output: expected text; received \\['a', 'b'\\]"),
        ("tokenizer: bite", "prepare.yaml: tokenizer: expected one of .*'bite'; did you mean byte"),
        ("source: web", "prepare.yaml: source: expected NAME=VALUE, once or more; received"),
        ("config: a.yaml", "prepare.yaml: config names another file; leave it out"),
        ("- text", "prepare.yaml should hold options such as output: .*; received list"),
        ("text: [a", "prepare.yaml is not valid YAML"),
        ("text: a.txt", "--output must be given"),
        ("output: o\ntext: a\nvalidation_fraction: 2", "validation_fraction=2.0 is out of range"),
    ],
)
def test_mistakes(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        parsed(tmp_path, text)


def test_a_file_that_is_not_there():
    with pytest.raises(ConfigError, match="cannot read the configuration none.yaml: No such file"):
        COMMAND.parse(["--config", "none.yaml"])
