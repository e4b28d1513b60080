"""YAML files with options, checked against the same options as the words of a command line."""

import argparse
import re
import typing
from collections.abc import Sequence

import yaml

from tfscale.commands.parser import (
    CONFIG_FILE,
    CommandParser,
    is_list,
    option_types,
)
from tfscale.commands.suggestions import closest, other_family
from tfscale.commands.values import brief, check_name, check_plain
from tfscale.compat.jsonargparse import actions_of, type_of
from tfscale.config.options import describe
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import open_file
from tfscale.files.yaml_text import load_yaml


def apply_config_file(parser: CommandParser, words: Sequence[str]) -> None:
    """Makes the values of the file that `--config` names the parser's defaults.

    Args:
        parser: of the command.
        words: as `normalize` returns them.

    Raises:
        ConfigError: see `read_yaml` and `apply_yaml`; the file names another one.
    """
    name = f"--{CONFIG_FILE.name}="
    paths = [word.removeprefix(name) for word in words if word.startswith(name)]
    if not paths:
        return
    document = read_yaml(paths[-1])
    if CONFIG_FILE.name in document:
        raise ConfigError(f"{paths[-1]}: {CONFIG_FILE.name} names another file; leave it out")
    apply_yaml(parser, document, paths[-1])


def read_yaml(path: str) -> JsonObject:
    """Reads a YAML mapping whose truth values and numbers are those of YAML 1.2.

    So 1e-3 is a number, 010 is ten and 1:30 is text, where YAML 1.1 has a text, 8 and 90.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        with open_file(path, "r") as file:
            value = load_yaml(file.read(), _Loader)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        received = "nothing" if value is None else type(value).__name__
        raise ConfigError(
            f"{path} should hold options such as output: or sections such as train:; received"
            f" {received}"
        )
    return value


_TAG = "tag:yaml.org,2002:"
_OTHERWISE = {f"{_TAG}{kind}" for kind in ("bool", "int", "float")}
"""Types of values that YAML 1.2 writes otherwise than PyYAML, which reads YAML 1.1."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag not in _OTHERWISE]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0 if "x" in text else 10)


for _kind, _pattern, _first in (
    ("bool", "true|True|false|False", "tTfF"),
    # Python's underscores are beyond YAML 1.2, and mean one thing only. 0o10 of YAML 1.2 is left
    # out, which the command line refuses.
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor(f"{_TAG}int", _whole)


def apply_yaml(parser: CommandParser, document: JsonObject, path: str) -> None:
    """Makes the values of a YAML file the parser's defaults, which words and options overrule.

    A word that stands without an option, such as a run folder, has its name in the help of the
    Python function: run_dir.

    Raises:
        ConfigError: a key that is not an option, or a value of the wrong type; names the file.
    """
    known = {
        key: typehint for key, typehint in option_types(parser).items() if typehint is not None
    }
    given_as_words = {
        action.dest: action
        for action in actions_of(parser)
        if not action.option_strings and action.dest != CONFIG_FILE.name
    }
    known |= dict.fromkeys(given_as_words, str)
    flat: JsonObject = {}
    for key, value in document.items():
        section = [option for option in known if option.startswith(f"{key}.")]
        if section and not isinstance(value, dict):
            raise ConfigError(
                f"{path}: {key} should hold options such as {section[0]}; received {brief(value)}"
            )
        named = (
            {f"{key}.{name}": inner for name, inner in value.items()} if section else {key: value}
        )
        if twice := next((name for name in named if name in flat), None):
            raise ConfigError(f"{path}: {twice} is given twice, in a section and by its whole name")
        flat.update(named)
    for key in flat:
        if key not in known:
            sections = {option.rpartition(".")[0] for option in known} - {""}
            raise ConfigError(
                f"{path}: unknown key"
                f" {key}{other_family(str(key)) or closest(str(key), [*sections, *known])}"
            )
    # Each value is looked at by itself, where others that must be given are not missed.
    needed = {
        action.dest: [] if is_list(type_of(action)) else ""
        for action in actions_of(parser)
        if action.required
    }
    for key, value in flat.items():
        if is_list(known[key]) and isinstance(value, str | int):
            value = flat[key] = [value]  # One of a list, as in Python.
        may_lack = "." not in key and parser.get_defaults()[key] is None
        if value is None and not may_lack and type(None) not in typing.get_args(known[key]):
            raise ConfigError(f"{path}: {key}: expected {describe(known[key])}; received null")
        if key in given_as_words and not isinstance(value, str):
            raise ConfigError(f"{path}: {key}: expected text; received {brief(value)}")
        check_plain(f"{path}: {key}", value, known[key])
        try:
            parser.parse_object({**needed, key: value}, defaults=False)
        except (argparse.ArgumentError, TypeError) as error:
            raise ConfigError(
                f"{path}: {key}: expected {describe(known[key])}; received {brief(value)}"
            ) from error
        check_name(f"{path}: {key}", value, known[key])
    parser.set_defaults(flat)
    for key in flat.keys() & given_as_words.keys():
        given_as_words[key].required, given_as_words[key].nargs = False, "?"
