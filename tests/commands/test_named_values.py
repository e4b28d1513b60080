"""Options that take names with values, on the command line."""

import pytest
import yaml

from tfscale.commands.named_values import named_values
from tfscale.commands.train import build_parser, parse
from tfscale.errors import ConfigError

GIVEN = ["--data", "data", "--output", "run"]


def test_words_are_joined_over_the_uses_of_the_option(tmp_path):
    words = ["--train.mix", "web=0.7", "code=.3", "--train.mix=b=1e-3"]
    assert parse([*GIVEN, *words]).train.mix == {"web": 0.7, "code": 0.3, "b": 0.001}
    assert parse(GIVEN).train.mix is None
    (tmp_path / "a.yaml").write_text("train:\n  mix: {web: 2, code: 0.5}\n")
    assert parse([*GIVEN, str(tmp_path / "a.yaml")]).train.mix == {"web": 2.0, "code": 0.5}


def test_a_name_may_have_several_values_where_the_option_says_so():
    words = ["web=a=b.txt", "code=1", "web=é\u2028 x\"'"]
    found = yaml.safe_load(named_values("--source", words, dict[str, list[str]]))
    assert found == {"web": ["a=b.txt", "é\u2028 x\"'"], "code": ["1"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["web"], "--train.mix: expected NAME=VALUE; received 'web'"),
        (["=1"], "--train.mix: expected NAME=VALUE; received '=1'"),
        (["web="], "--train.mix: expected NAME=VALUE; received 'web='"),
        (["web=much"], "--train.mix: expected NAME=NUMBER; received 'web=much'"),
        (["web=nan"], "--train.mix: expected NAME=NUMBER; received 'web=nan'"),
        (["web=1e999"], "--train.mix: expected NAME=NUMBER; received 'web=1e999'"),
        (["web=1", "web=2"], "--train.mix: web is given twice; received web=1 web=2"),
        ([], "--train.mix needs a value: NAME=VALUE, once or more"),
    ],
)
def test_words_that_are_none(words, message):
    with pytest.raises(ConfigError) as error:
        parse([*GIVEN, "--train.mix", *words])
    assert str(error.value) == message


@pytest.mark.parametrize("text", ["[web=1]", "web", "{web: much}", "3"])
def test_a_file_with_something_else(tmp_path, text):
    (tmp_path / "a.yaml").write_text(f"train:\n  mix: {text}\n")
    with pytest.raises(ConfigError, match="train.mix: expected NAME=VALUE, once or more; received"):
        parse([*GIVEN, str(tmp_path / "a.yaml")])


def test_the_help_shows_names_with_values():
    assert "--train.mix NAME=VALUE ..." in build_parser().help_text(everything=True)
