"""`--plugins`, and options whose values are names of a registry."""

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import pytest

from tfscale import cli
from tfscale.commands.arguments import parse_words
from tfscale.commands.option_files import apply_yaml
from tfscale.commands.parser import CommandParser, option_types
from tfscale.config.options import Options
from tfscale.errors import ConfigError
from tfscale.registry import FAMILIES, VARIABLE, NameIn

PLUGIN = """
from dataclasses import dataclass
import tfscale

@tfscale.register
@dataclass(frozen=True, kw_only=True)
class Wide(tfscale.NetworkConfig):
    family = "wide"
    hidden_dim: int = 7
    \"\"\"Width of everything.\"\"\"

    def parameter_count(self):
        return 2 * self.vocabulary_size * self.hidden_dim
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "wide_plugin.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv(VARIABLE, "")
    yield "wide_plugin"
    sys.modules.pop("wide_plugin", None)
    FAMILIES._registered.pop("wide", None)


@pytest.mark.parametrize("form", [["--plugins", "wide_plugin"], ["--plugins=wide_plugin"]])
def test_a_family_of_a_plugin_is_an_option_like_any_other(form, plugin, capsys):
    words = ["plan", "--model.family", "wide", "--model.hidden_dim", "9", "--chip", "v5e"]
    assert cli.main([*form, *words, "--model.vocabulary_size", "100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 1800
    with pytest.raises(SystemExit):
        cli.main([*form, "train", "--help-all"])
    text = " ".join(capsys.readouterr().out.split())
    assert "With --model.family wide" in text and "Width of everything." in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plugins"], "--plugins needs a value: names of Python modules, with commas between"),
        (["--plugins=", "train"], "--plugins needs a value: names of Python modules, with"),
        (["--plugins", "no_such_module", "train"], "plugin no_such_module cannot be imported (Mod"),
        (["--plugin", "x", "train"], "unknown option --plugin; did you mean --plugins?"),
    ],
)
def test_mistakes_are_one_line(words, message, monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, "")
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


@dataclass(frozen=True, kw_only=True)
class Choice(Options):
    """An option that names a family."""

    kind: Annotated[str, NameIn(FAMILIES)] = "gru"
    """The kind."""


def test_a_registered_choice_is_checked_when_it_is_parsed():
    parser = CommandParser("x", "Chooses.", [(Choice, "model")])
    names = ", ".join(FAMILIES.names())
    assert parse_words(parser, ["--model.kind", "lstm"]).model.kind == "lstm"
    for value, hint in (("lstmm", "; did you mean lstm?"), ("zzz", "")):
        with pytest.raises(ConfigError) as caught:
            parse_words(parser, ["--model.kind", value])
        assert (
            str(caught.value) == f"--model.kind: expected one of {names}; received {value!r}{hint}"
        )
    with pytest.raises(ConfigError, match="f.yaml: model.kind: expected one of .*; received 'zzz'"):
        apply_yaml(parser, {"model": {"kind": "zzz"}}, "f.yaml")
    assert option_types(parser)["model.kind"] is not str
