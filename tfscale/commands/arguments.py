"""The words of a command line and YAML files, parsed with errors that a person can act on.

This module adds what a command line should feel like: hyphens or underscores, `--text A B C`,
switches without a value, one line for a mistake with the closest name, and YAML checked against the
same options.
"""

import argparse
import difflib
import re
import typing
from collections.abc import Mapping, Sequence

import yaml
from jsonargparse import Namespace

from tfscale.commands.named_values import named_values
from tfscale.commands.parser import (
    CONFIG_FILE,
    HELP_ALL,
    CommandParser,
    Hint,
    is_list,
    is_mapping,
    option_types,
    takes_switches,
)
from tfscale.commands.suggestions import closest, other_family, shown, unknown_option
from tfscale.compat.jsonargparse import actions_of
from tfscale.config.options import describe
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import open_file
from tfscale.files.typehints import names_offered
from tfscale.files.yaml_text import load_yaml
from tfscale.terminal import print

HELP = ("-h", "--help", HELP_ALL)
_LONGEST_SHOWN = 80
"""Characters of a wrong value that a message repeats."""


def brief(value: object) -> str:
    """Returns a value as a message shows it: the beginning of its `repr`, where that is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def normalize(arguments: Sequence[str], known: Mapping[str, Hint]) -> list[str]:
    """Brings options to the form `--key=value`, so that no value can be mistaken for an option.

    Args:
        arguments: words of the command line after the command.
        known: key -> type of every option, as from `option_types`.

    Returns:
        Positional words, and one `--key=value` per option; the values of an option that takes
        several, and its names with values (also those of `--key.name value`), are joined over its
        uses.

    Raises:
        ConfigError: an option that is not known, or one without its value; a word that is not
            UTF-8.
    """
    words = list(arguments)
    for word in words:
        if not word.isascii() and word.encode("utf-8", "replace").decode("utf-8") != word:
            raise ConfigError(
                f"{word.encode('utf-8', 'surrogateescape')!r} is not UTF-8, which words of the"
                " command line must be; rename the file, or name the folder that it is in"
            )
    lists: dict[str, list[str]] = {}
    result: list[str] = []
    while words:
        word = words.pop(0)
        if word in HELP or not word.startswith("--"):
            if word.startswith("-") and word[1:2].isalpha() and word not in HELP:
                raise ConfigError(unknown_option(word, known))
            result.append(word)
            continue
        name, has_value, value = word.partition("=")
        key = name[2:].replace("-", "_")
        if key not in known and (mapping := _mapping_of(key, known)):
            entry = name[3 + len(mapping) :]
            values = [value] if has_value else _values(words)
            lists.setdefault(mapping, []).extend(f"{entry}={value}" for value in values or ["true"])
            continue
        if key not in known:
            raise ConfigError(unknown_option(name, known))
        if known[key] is None:
            if has_value:
                raise ConfigError(f"{shown(key)} takes no value; received {value!r}")
            result.append(f"--{key}")
        elif is_list(known[key]) or is_mapping(known[key]):
            values = [value] if has_value else _values(words)
            if not values:
                raise ConfigError(f"{shown(key)} needs a value: {describe(known[key])}")
            lists.setdefault(key, []).extend(values)
        elif has_value:
            result.append(f"--{key}={value}")
        elif known[key] is bool and (not words or words[0].lower() not in ("true", "false")):
            if words and words[0].lower() in ("yes", "no", "on", "off", "0", "1"):
                raise ConfigError(f"{shown(key)}: expected true or false; received {words[0]!r}")
            result.append(f"--{key}=true")
        elif words and not (words[0].startswith("--") and " " not in words[0]):
            result.append(f"--{key}={words.pop(0)}")
        else:
            hint = f" (for one that starts with --, write {shown(key)}={words[0]})" if words else ""
            raise ConfigError(f"{shown(key)} needs a value: {describe(known[key])}{hint}")
    for key, values in lists.items():
        if is_mapping(known[key]):
            result.append(f"--{key}={named_values(shown(key), values, known[key])}")
            continue
        items = f"[{', '.join(values)}]" if known[key] == list[int] else _yaml_list(values)
        result.append(f"--{key}={items}")
    return result


def _mapping_of(key: str, known: Mapping[str, Hint]) -> str | None:
    """Returns the option of which a key is an entry, as beam of beam.runner; None for none.

    Only options whose names are open, and whose values may be switches.
    """
    mapping = key.partition(".")[0]
    return mapping if is_mapping(known.get(mapping)) and takes_switches(known[mapping]) else None


def _values(words: list[str]) -> list[str]:
    """Takes the words off that are values: those before the next option."""
    values = []
    while words and not words[0].startswith("--"):
        values.append(words.pop(0))
    return values


def _yaml_list(values: list[str]) -> str:
    # JSON writes characters beyond 16 bits as two surrogates, which YAML does not accept.
    return str(
        yaml.safe_dump(values, default_flow_style=True, default_style='"', width=float("inf"))
    ).strip()


def parse_words(parser: CommandParser, words: Sequence[str]) -> Namespace:
    """Parses the words of a command line, and the YAML file that `CONFIG_FILE` names, if the parser
    has that.

    Raises:
        ConfigError: an option that is unknown or misspelt, lacks its value or has one of the wrong
            type, or is required and missing; a word too many; a mistake in the file.
    """
    words = normalize(words, option_types(parser))
    name = f"--{CONFIG_FILE.name}="
    paths = [word.removeprefix(name) for word in words if word.startswith(name)]
    if paths:
        document = read_yaml(paths[-1])
        if CONFIG_FILE.name in document:
            raise ConfigError(f"{paths[-1]}: {CONFIG_FILE.name} names another file; leave it out")
        apply_yaml(parser, document, paths[-1])
    return parse_normalized(parser, words)


def parse_normalized(parser: CommandParser, words: Sequence[str]) -> Namespace:
    """Parses words that `normalize` returned.

    Raises:
        ConfigError: a value of the wrong type, a missing required option, a word too many.
        SystemExit: with code 0, after the help was printed that they ask for.
    """
    if asked := [word for word in words if word in HELP]:
        print(parser.help_text(everything=HELP_ALL in asked), end="")
        raise SystemExit(0)
    positional = [action for action in actions_of(parser) if not action.option_strings]
    if stray := [word for word in words if not word.startswith("--")][len(positional) :]:
        # A text without its option is the commonest word too many.
        texts = [key for key in ("prompt", "text") if key in option_types(parser)]
        hint = f"; did you mean {shown(texts[0])} {stray[0]!r}?" if texts else ""
        raise ConfigError(f"unexpected word {stray[0]!r}{hint} (see {parser.prog} --help)")
    try:
        options = parser.parse_args(list(words))
    except argparse.ArgumentError as error:
        raise ConfigError(_explain(parser, str(error))) from error
    for key, typehint in option_types(parser).items():
        _check_name(shown(key), options[key] if key in options else None, typehint)
    return options


def _check_name(shown_as: str, value: object, typehint: Hint) -> None:
    """Refuses a value, or one of a list, that is not a name of the registry of its option."""
    choices = names_offered(typehint)
    for name in value if isinstance(value, list) else [value]:
        if choices is None or choices.takes(name):
            continue
        near = difflib.get_close_matches(str(name), choices.names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"{shown_as}: expected {describe(typehint)}; received {brief(name)}{hint}"
        )


def read_yaml(path: str) -> JsonObject:
    """Reads a YAML mapping, in which, as in YAML 1.2, only true and false are truth values.

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
        raise ConfigError(
            f"{path} should hold options such as output: or sections such as train:; received"
            f" {type(value).__name__}"
        )
    return value


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|false|False)$"), list("tTfF")
)


def apply_yaml(parser: CommandParser, document: JsonObject, path: str) -> None:
    """Makes the values of a YAML file the parser's defaults, which options overrule.

    Raises:
        ConfigError: a key that is not an option, or a value of the wrong type; names the file.
    """
    known = {
        key: typehint for key, typehint in option_types(parser).items() if typehint is not None
    }
    flat: JsonObject = {}
    for key, value in document.items():
        section = [option for option in known if option.startswith(f"{key}.")]
        if section and not isinstance(value, dict):
            raise ConfigError(
                f"{path}: {key} should hold options such as {section[0]}; received {brief(value)}"
            )
        flat.update(
            {f"{key}.{name}": inner for name, inner in value.items()} if section else {key: value}
        )
    for key in flat:
        if key not in known:
            sections = {option.rpartition(".")[0] for option in known} - {""}
            raise ConfigError(
                f"{path}: unknown key"
                f" {key}{other_family(str(key)) or closest(str(key), [*sections, *known])}"
            )
    # Each value is looked at by itself, where others that must be given are not missed.
    needed = {action.dest: "" for action in actions_of(parser) if action.required}
    for key, value in flat.items():
        if is_list(known[key]) and isinstance(value, str | int):
            value = flat[key] = [value]  # One of a list, as in Python.
        may_lack = "." not in key and parser.get_defaults()[key] is None
        if value is None and not may_lack and type(None) not in typing.get_args(known[key]):
            raise ConfigError(f"{path}: {key}: expected {describe(known[key])}; received null")
        try:
            parser.parse_object({**needed, key: value}, defaults=False)
        except (argparse.ArgumentError, TypeError) as error:
            raise ConfigError(
                f"{path}: {key}: expected {describe(known[key])}; received {brief(value)}"
            ) from error
        _check_name(f"{path}: {key}", value, known[key])
    parser.set_defaults(flat)


def _explain(parser: CommandParser, message: str) -> str:
    if match := re.match(r'Parser key "([^"]+)":', message):
        key, known = match[1], option_types(parser)
        received = re.search(r"(?:Got value|Given value): (.*)\Z", message, re.DOTALL)
        value = brief(received[1] if received else "?")
        return f"{shown(key)}: expected {describe(known.get(key))}; received {value}"
    if match := re.match(r"the following arguments are required: (.*)", message):
        positional = {
            action.dest: action.metavar
            for action in actions_of(parser)
            if not action.option_strings
        }
        names = [
            str(positional[key] or key) if key in positional else shown(key)
            for key in match[1].split(", ")
        ]
        return f"{' and '.join(names)} must be given (see {parser.prog} --help)"
    return " ".join(message.split())
