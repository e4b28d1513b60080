"""Config classes to command-line options and YAML keys, with errors that a person can act on.

`jsonargparse` turns the fields of a config class into options, checks their types and makes the help from the
fields' docstrings. This module adds what a command line should feel like: hyphens or underscores, `--text A B C`,
switches without a value, one line for a mistake with the closest name, and YAML checked against the same options.
"""

import argparse
import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from tfscale.config import MODEL_CONFIGS
from tfscale.errors import ConfigError
from tfscale.files import open_file

set_parsing_settings(docstring_parse_attribute_docstrings=True)


def describe(typehint: Any) -> str:
    """What a value of this type looks like, in words: "a whole number", "one of unigram, bpe"."""
    origin, arguments = typing.get_origin(typehint), typing.get_args(typehint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments if argument is not type(None))
    if origin is list:
        return f"{describe(arguments[0])}, once or more"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(typehint, str(typehint))


def shown(key: str) -> str:
    """The name of an option as the help shows it: hyphens, except in keys of a section, which are also YAML keys."""
    return "--" + (key if "." in key else key.replace("_", "-"))


class HelpFormatter(DefaultHelpFormatter):
    """Options by their shown name, types in words, and no wall of text for the usage."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def _format_usage(self, usage: str | None, actions: Iterable[argparse.Action], *_: Any) -> str:
        words = [self._prog]
        for action in actions:
            name = action.metavar or action.dest
            if not action.option_strings:
                words.append(f"[{name}]" if action.nargs == "?" else str(name))
            elif action.required:
                words.append(f"{shown(action.dest)} {str(name).upper()}")
        return f"Usage: {' '.join(words)} [options]\n\n"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return str(action.metavar or action.dest)
        if action.nargs == 0:
            return ", ".join(action.option_strings)
        typehint = getattr(action, "_typehint", None)
        if typehint is bool:
            return f"{shown(action.dest)} [true|false]"
        name = "N" if typehint is int else "X" if typehint is float else re.split("[._]", action.dest)[-1].upper()
        return f"{shown(action.dest)} {name}{' ...' if typing.get_origin(typehint) is list else ''}"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Leaves what was already laid out, the options of the other model families, as it is."""
        return text if "\n" in text else super()._fill_text(text, width, indent)

    def _get_help_string(self, action: argparse.Action) -> str:
        notes = []
        typehint = getattr(action, "_typehint", None)
        if describe(typehint) not in ("None", "text", "text, once or more", "true or false"):
            notes.append(describe(typehint))
        if action.required and action.option_strings:
            notes.append("required")
        elif action.default not in (None, "", [], argparse.SUPPRESS) and action.nargs != 0:
            value = action.default
            notes.append(f"default: {str(value).lower() if isinstance(value, bool) else value}")
        return (action.help or "") + (f" ({'; '.join(notes)})" if notes else "")


def new_parser(command: str, description: str, epilog: str | None = None) -> ArgumentParser:
    """An empty parser for `tfscale COMMAND`, with --json."""
    parser = ArgumentParser(
        prog=f"tfscale {command}",
        description=description,
        epilog=epilog,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="Progress to stderr; the last line of stdout is JSON.")
    return parser


def add_config(parser: ArgumentParser, config_class: type, section: str | None = None) -> None:
    """Adds an option for each field of `config_class`, named `--field` or `--section.field`."""
    parser.add_class_arguments(config_class, section, instantiate=False)
    for action in parser._actions:
        if action.dest == section:
            action.help = argparse.SUPPRESS  # jsonargparse's own "--section FILE"; the YAML file of the command does it


def option_types(parser: ArgumentParser) -> dict[str, Any]:
    """Key of each option -> its type (None for switches such as --json)."""
    return {
        action.dest: getattr(action, "_typehint", None)
        for action in parser._actions
        if action.option_strings and action.help != argparse.SUPPRESS
    }


def build_config(config_class: type, options: Namespace, section: str | None = None) -> Any:
    """The config object whose fields were parsed into `options` (or into its `section`)."""
    values = options[section] if section else options
    return config_class(**{name: values[name] for name in _fields(config_class)})


def normalize(arguments: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """Brings options to the form `--key=value`, so that no value can be mistaken for an option.

    Args:
        arguments: words of the command line after the command.
        known: key -> type of every option, as from `option_types`.

    Returns:
        Positional words, and one `--key=value` per option; the values of a list option are joined over its uses.

    Raises:
        ConfigError: an option that is not known, or one without its value.
    """
    words = list(arguments)
    lists: dict[str, list[str]] = {}
    result: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("-h", "--help") or not word.startswith("--"):
            if word.startswith("-") and word[1:2].isalpha() and word != "-h":
                raise ConfigError(unknown_option(word, known))
            result.append(word)
            continue
        name, has_value, value = word.partition("=")
        key = name[2:].replace("-", "_")
        if key not in known:
            raise ConfigError(unknown_option(name, known))
        if known[key] is None:
            if has_value:
                raise ConfigError(f"{shown(key)} takes no value; received {value!r}")
            result.append(f"--{key}")
        elif typing.get_origin(known[key]) is list:
            values = [value] if has_value else []
            while not has_value and words and not words[0].startswith("--"):
                values.append(words.pop(0))
            if not values:
                raise ConfigError(f"{shown(key)} needs a value: {describe(known[key])}")
            lists.setdefault(key, []).extend(values)
        elif has_value:
            result.append(f"--{key}={value}")
        elif known[key] is bool and (not words or words[0].lower() not in ("true", "false")):
            result.append(f"--{key}=true")
        elif words and not (words[0].startswith("--") and " " not in words[0]):
            result.append(f"--{key}={words.pop(0)}")
        else:
            hint = f" (for one that starts with --, write {shown(key)}={words[0]})" if words else ""
            raise ConfigError(f"{shown(key)} needs a value: {describe(known[key])}{hint}")
    for key, values in lists.items():
        items = f"[{', '.join(values)}]" if known[key] == list[int] else _yaml_list(values)
        result.append(f"--{key}={items}")
    return result


def _yaml_list(values: list[str]) -> str:
    # Not JSON, whose pairs of surrogates for what is beyond 16 bits are none of YAML's.
    return str(yaml.safe_dump(values, default_flow_style=True, default_style='"', width=float("inf"))).strip()


def unknown_option(name: str, known: Iterable[str]) -> str:
    """The message for an unknown option, with the closest known one."""
    key = name.lstrip("-").replace("-", "_")
    return f"unknown option {name}{_other_family(key) or closest(key, known, shown)}"


def _other_family(key: str) -> str:
    section, _, name = key.partition(".")
    families = [family for family, config in MODEL_CONFIGS.items() if name in _fields(config)]
    return f"; it belongs to --model.family {' or '.join(families)}" if section == "model" and families else ""


def _fields(config_class: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(config_class)]


def closest(key: str, known: Iterable[str], show: Callable[[str], str] = str) -> str:
    """The words "; did you mean X?" for the known name that is closest to `key`, or nothing."""
    known = list(known)
    # A section left out ("--steps" for "--train.steps") is as common as a slip of the fingers.
    same_tail = [option for option in known if option.rpartition(".")[2] == key.rpartition(".")[2]]
    starts = [option for option in known if option.startswith(key)]
    close = same_tail or starts or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {show(close[0])}?" if close else ""


def parse_words(parser: ArgumentParser, words: Sequence[str]) -> Namespace:
    """Parses the words of a command line.

    Raises:
        ConfigError: an option that is unknown or misspelt, lacks its value or has one of the wrong type, or is required
            and missing; a word too many.
    """
    return parse_normalized(parser, normalize(words, option_types(parser)))


def parse_normalized(parser: ArgumentParser, words: Sequence[str]) -> Namespace:
    """Parses words that `normalize` returned.

    Raises:
        ConfigError: a value of the wrong type, a missing required option, a word too many.
    """
    try:
        return parser.parse_args(list(words))
    except argparse.ArgumentError as error:
        raise ConfigError(_explain(parser, str(error))) from error


def read_yaml(path: str) -> dict[str, Any]:
    """Reads a YAML mapping. As in YAML 1.2, only true and false are truth values: `xla: off` is the word off.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        with open_file(path, "r") as file:
            value = yaml.load(file.read(), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} should hold sections such as model: and train:; received {type(value).__name__}")
    return value


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|false|False)$"), list("tTfF"))


def apply_yaml(parser: ArgumentParser, document: dict[str, Any], path: str) -> None:
    """Makes the values of a YAML file the parser's defaults; options of the command line go before them.

    Raises:
        ConfigError: a key that is no option, or a value of the wrong type; names the file.
    """
    known = {key: typehint for key, typehint in option_types(parser).items() if typehint is not None}
    flat: dict[str, Any] = {}
    for key, value in document.items():
        section = [option for option in known if option.startswith(f"{key}.")]
        if section and not isinstance(value, dict):
            raise ConfigError(f"{path}: {key} should hold options such as {section[0]}; received {value!r}")
        flat.update({f"{key}.{name}": inner for name, inner in value.items()} if section else {key: value})
    for key in flat:
        if key not in known:
            sections = {option.rpartition(".")[0] for option in known} - {""}
            raise ConfigError(
                f"{path}: unknown key {key}{_other_family(str(key)) or closest(str(key), [*sections, *known])}"
            )
    for key, value in flat.items():
        if value is None and "." in key and type(None) not in typing.get_args(known[key]):
            raise ConfigError(f"{path}: {key}: expected {describe(known[key])}; received null")
        try:
            parser.parse_object({key: value}, defaults=False)
        except (argparse.ArgumentError, TypeError) as error:
            raise ConfigError(f"{path}: {key}: expected {describe(known[key])}; received {value!r}") from error
    parser.set_defaults(flat)


def _explain(parser: ArgumentParser, message: str) -> str:
    if match := re.match(r'Parser key "([^"]+)":', message):
        key, known = match[1], option_types(parser)
        received = re.search(r"(?:Got value|Given value): (.*)\Z", message, re.DOTALL)
        return f"{shown(key)}: expected {describe(known.get(key))}; received {received[1] if received else '?'!r}"
    if match := re.match(r"the following arguments are required: (.*)", message):
        positional = {action.dest: action.metavar for action in parser._actions if not action.option_strings}
        names = [str(positional[key] or key) if key in positional else shown(key) for key in match[1].split(", ")]
        return f"{' and '.join(names)} must be given (see {parser.prog} --help)"
    if match := re.match(r"unrecognized arguments: (.*)", message):
        return f"unexpected word {match[1].split()[0]!r} (see {parser.prog} --help)"
    return " ".join(message.split())
