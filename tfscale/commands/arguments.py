"""The words of a command line, parsed with errors that a person can act on.

This module adds what a command line should feel like: hyphens or underscores, `--text A B C`,
switches without a value, one line for a mistake with the closest name.
"""

import argparse
import re
from collections.abc import Mapping, Sequence

import yaml
from jsonargparse import Namespace

from tfscale.commands.named_values import named_values
from tfscale.commands.option_files import apply_config_file
from tfscale.commands.parser import (
    HELP_ALL,
    CommandParser,
    Hint,
    is_list,
    is_mapping,
    option_types,
    takes_switches,
)
from tfscale.commands.suggestions import shown, unknown_option
from tfscale.commands.values import brief, check_name, check_plain
from tfscale.compat.jsonargparse import actions_of
from tfscale.config.options import describe
from tfscale.errors import ConfigError
from tfscale.terminal import print

HELP = ("-h", "--help", HELP_ALL)


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
            check_plain(shown(key), value, known[key])
            result.append(f"--{key}={value}")
        elif known[key] is bool and (not words or words[0].lower() not in ("true", "false")):
            # An empty word is a variable of the shell without a value, which is no yes.
            if words and words[0].lower() in (
                "yes",
                "no",
                "on",
                "off",
                "0",
                "1",
                "",
                "null",
                "none",
            ):
                raise ConfigError(f"{shown(key)}: expected true or false; received {words[0]!r}")
            result.append(f"--{key}=true")
        elif words and not (words[0].startswith("--") and " " not in words[0]):
            check_plain(shown(key), words[0], known[key])
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
    """Parses the words of a command line, and the YAML file that `--config` names.

    Raises:
        ConfigError: an option that is unknown or misspelt, lacks its value or has one of the wrong
            type, or is required and missing; a word too many; a mistake in the file.
    """
    words = normalize(words, option_types(parser))
    apply_config_file(parser, words)
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
        raise ConfigError(_explain(parser, str(error), words)) from error
    for key, typehint in option_types(parser).items():
        check_name(shown(key), options[key] if key in options else None, typehint)
    return options


def _explain(parser: CommandParser, message: str, words: Sequence[str]) -> str:
    if match := re.match(r'Parser key "([^"]+)":', message):
        key, known = match[1], option_types(parser)
        # Of several lines the last one has the value as it was given.
        received = re.search(r"\A.*(?:Got value|Given value): (.*)\Z", message, re.DOTALL)
        value = brief(received[1] if received else "?")
        # That is after YAML has read it: 10.0 for 1e1, None for null.
        given = [word.partition("=")[2] for word in words if word.startswith(f"--{key}=")]
        if given and not is_list(known.get(key)) and not is_mapping(known.get(key)):
            value = brief(given[-1])
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
