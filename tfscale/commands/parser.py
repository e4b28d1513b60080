"""The words and options of a command, and the parser that is made of them.

`jsonargparse` turns the fields of a config class into options, checks their types and makes the
help from the fields' docstrings.
"""

import argparse
import dataclasses
import re
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from tfscale.commands.suggestions import shown
from tfscale.compat.jsonargparse import actions_of, type_of
from tfscale.config.options import Config, describe
from tfscale.files.typehints import registered_names

set_parsing_settings(docstring_parse_attribute_docstrings=True)
Hint: TypeAlias = Any
"""The type of an option: classes, unions and annotated types have no common base."""
_PLAIN = (bool, int, float)


class HelpFormatter(DefaultHelpFormatter):
    """Options by their shown name, types in words, and no wall of text for the usage."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def _format_usage(
        self, usage: str | None, actions: Iterable[argparse.Action], *_: object
    ) -> str:
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
        typehint = type_of(action)
        # Of an option that may be left to another default, what is not None.
        choices = () if is_list(typehint) else typing.get_args(typehint)
        kind = next((one for one in choices if one in _PLAIN), typehint)
        if kind is bool:
            return f"{shown(action.dest)} [true|false]"
        name = (
            "N"
            if kind is int
            else "X"
            if kind is float
            else re.split("[._]", action.dest)[-1].upper()
        )
        return f"{shown(action.dest)} {name}{' ...' if is_list(typehint) else ''}"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Leaves what was already laid out, the options of the other model families, as it is."""
        return text if "\n" in text else super()._fill_text(text, width, indent)

    def _get_help_string(self, action: argparse.Action) -> str:
        notes = []
        typehint = type_of(action)
        name_in = registered_names(typehint)
        if name_in and (explained := name_in.explain()):
            notes.append(explained)
        elif describe(typehint) not in ("None", "text", "text, once or more", "true or false"):
            notes.append(describe(typehint))
        if action.required and action.option_strings:
            notes.append("required")
        elif action.default not in (None, "", [], argparse.SUPPRESS) and action.nargs != 0:
            value = action.default
            notes.append(f"default: {str(value).lower() if isinstance(value, bool) else value}")
        return (action.help or "") + (f" ({'; '.join(notes)})" if notes else "")


@dataclass(frozen=True)
class Word:
    """A word that stands without an option.

    Attributes:
        name: its name among the parsed values.
        shown: the word in the help.
        help: the text of the help.
        optional: whether it may be left out.
    """

    name: str
    shown: str
    help: str
    optional: bool = False


@dataclass(frozen=True)
class Option:
    """An option that is not a field of a config class.

    Attributes:
        name: without the hyphens.
        type: of its value.
        help: the text of the help.
        default: the value if it is left out; NEEDED where it must not be.
    """

    name: str
    type: Hint
    help: str
    default: object = None


NEEDED = object()
Entry: TypeAlias = Word | Option | type | tuple[type, str]
"""A word, an option, or the options of a config class, which may have a section."""
TARGET = Word("target", "RUN_DIR|FILE.tflite", "A run folder, or an exported file or its folder.")
RUN_DIR = Word("run_dir", "RUN_DIR", "Run folder that tfscale train wrote.")
THREADS = Option("threads", int, "CPU threads; no effect on a run.", 1)


def new_parser(
    command: str, description: str, takes: Iterable[Entry] = (), epilog: str | None = None
) -> ArgumentParser:
    """Returns a parser for `tfscale COMMAND`, with --json."""
    parser = ArgumentParser(
        prog=f"tfscale {command}",
        description=description,
        epilog=epilog,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--json", action="store_true", help="Progress to stderr; the last line of stdout is JSON."
    )
    add_entries(parser, takes)
    return parser


def add_entries(parser: ArgumentParser, entries: Iterable[Entry]) -> None:
    """Adds words and options to a parser."""
    for entry in entries:
        if isinstance(entry, Word):
            nargs = "?" if entry.optional else None
            parser.add_argument(entry.name, nargs=nargs, metavar=entry.shown, help=entry.help)
        elif isinstance(entry, Option):
            needed = entry.default is NEEDED
            default = {"required": True} if needed else {"default": entry.default}
            parser.add_argument(f"--{entry.name}", type=entry.type, help=entry.help, **default)
        elif isinstance(entry, tuple):
            add_config(parser, *entry)
        else:
            add_config(parser, entry)


def add_config(parser: ArgumentParser, config_class: type, section: str | None = None) -> None:
    """Adds an option for each field of `config_class`, named `--field` or `--section.field`."""
    parser.add_class_arguments(config_class, section, instantiate=False)
    for action in actions_of(parser):
        if action.dest == section:
            # jsonargparse's own "--section FILE"; the YAML file of the command does it.
            action.help = argparse.SUPPRESS


def option_types(parser: ArgumentParser) -> dict[str, Hint]:
    """Key of each option -> its type (None for switches such as --json)."""
    return {
        action.dest: type_of(action)
        for action in actions_of(parser)
        if action.option_strings and action.help != argparse.SUPPRESS
    }


def build_config(
    config_class: type[Config], options: Namespace, section: str | None = None
) -> Config:
    """Returns the config object whose fields were parsed into `options` (or into its `section`)."""
    values = options[section] if section else options
    return config_class(**{name: values[name] for name in _fields(config_class)})


def is_list(typehint: Hint) -> bool:
    origin: object = typing.get_origin(typehint)
    return origin is list


def _fields(config_class: type[Config]) -> list[str]:
    return [field.name for field in dataclasses.fields(config_class)]  # type: ignore[arg-type]
