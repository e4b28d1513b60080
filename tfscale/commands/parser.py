"""The words and options of a command, and the parser that is made of them.

The fields of a config class become options: `jsonargparse` checks their types, and their docstrings
are the help. `--help` lists what people need often, `--help-all` everything.
"""

import argparse
import dataclasses
import re
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from tfscale.commands.suggestions import shown
from tfscale.compat.jsonargparse import actions_of, type_of
from tfscale.config.fields import default_of, field_docs, is_rare, option_fields, summary_of
from tfscale.config.options import Config, describe, hints_of
from tfscale.files.typehints import names_offered

Hint: TypeAlias = Any
"""The type of an option: classes, unions and annotated types have no common base."""
_SHOWN_TYPES = (
    "None",
    "text",
    "text, once or more",
    "NAME=VALUE, once or more",
    "true or false",
    "a whole number",
    "a number",
)
"""Types in words that the help leaves out: the name of the value says them, N, X or TEXT."""


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
                words.append(self._format_action_invocation(action))
        return f"Usage: {' '.join(words)} [options]\n\n"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return str(action.metavar or action.dest)
        if action.nargs == 0:
            return ", ".join(action.option_strings)
        typehint = type_of(action)
        # An option without a default of its own is something of a kind, or nothing.
        kinds = set(typing.get_args(typehint)) - {type(None)} or {typehint}
        if kinds == {bool}:
            return f"{shown(action.dest)} [true|false]"
        name = (
            "N"
            if kinds == {int}
            else "X"
            if kinds == {float}
            else re.split("[._]", action.dest)[-1].upper()
        )
        if is_mapping(typehint):
            name = "NAME=VALUE"
        several = is_list(typehint) or is_mapping(typehint)
        return f"{shown(action.dest)} {name}{' ...' if several else ''}"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Leaves what was already laid out, the options of the other model families, as it is."""
        return text if "\n" in text else super()._fill_text(text, width, indent)

    def _get_help_string(self, action: argparse.Action) -> str:
        notes = []
        typehint = type_of(action)
        name_in = names_offered(typehint)
        if name_in and (explained := name_in.explain()):
            notes.append(explained)
        elif describe(typehint) not in _SHOWN_TYPES:
            notes.append(describe(typehint))
        if action.required and action.option_strings:
            notes.append("required")
        elif action.default not in (None, "", [], {}, argparse.SUPPRESS) and action.nargs != 0:
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
        rare: whether it is left out of `--help`, and listed by `--help-all`.
    """

    name: str
    type: Hint
    help: str
    default: object = None
    rare: bool = False


NEEDED = object()
Entry: TypeAlias = Word | Option | type | tuple[type, str]
"""A word, an option, or the options of a config class, which may have a section."""
TARGET = Word("target", "RUN_DIR|FILE.tflite", "A run folder, or an exported file or its folder.")
RUN_DIR = Word("run_dir", "RUN_DIR", "Run folder that tfscale train wrote.")
CONFIG_FILE = Option(
    "config", str, "YAML file with options of these names; those of the command line come first."
)
"""An option of every command; of some, a word that stands without an option."""
THREADS = Option("threads", int, "CPU threads; no effect on a run.", 1)
HELP_ALL = "--help-all"
GENERAL = "Options of every command"
"""The last heading of a help."""


class CommandParser(ArgumentParser):
    """The parser of a command, with a short help and a full one.

    Args:
        command: the command.
        description: the first lines of its help.
        entries: its words and options.
        more: returns what the full help has after the options.
        hint: says at the end of the short help what the full one has besides rare options.
    """

    def __init__(
        self,
        command: str,
        description: str,
        entries: Iterable[Entry] = (),
        more: Callable[[], str] | None = None,
        hint: str = "",
    ):
        super().__init__(
            prog=f"tfscale {command}",
            description=description,
            exit_on_error=False,
            allow_abbrev=False,
            formatter_class=HelpFormatter,
            add_help=False,
        )
        self.more, self.hint = more, hint
        self._arguments: list[tuple[_Argument, argparse.Action]] = []
        self._advanced: list[_Argument] = []
        for entry in entries:
            self._add_entry(entry)
        # After those of the command, whatever entry they belong to.
        group = self.add_argument_group("Advanced options")
        self._rare = [argument.add_to(group) for argument in self._advanced]
        self._arguments += zip(self._advanced, self._rare, strict=True)
        self._add_general()

    def _add_general(self) -> None:
        """Adds the options that every command has, at the end."""
        group = self.add_argument_group(GENERAL)
        text = "Progress to stderr; the last line of stdout is JSON."
        if CONFIG_FILE.name not in {action.dest for action in actions_of(self)}:
            self._add(group, _Argument(CONFIG_FILE.name, str, CONFIG_FILE.help, None), False)
        group.add_argument("--json", action="store_true", help=text)
        group.add_argument("-h", "--help", action="help", help="Show the most used options.")
        group.add_argument(HELP_ALL, action="help", help="Show all options.")

    def _add_entry(self, entry: Entry) -> None:
        if isinstance(entry, Word):
            nargs = "?" if entry.optional else None
            self.add_argument(entry.name, nargs=nargs, metavar=entry.shown, help=entry.help)
        elif isinstance(entry, Option):
            default = dataclasses.MISSING if entry.default is NEEDED else entry.default
            self._add(self, _Argument(entry.name, entry.type, entry.help, default), entry.rare)
        elif isinstance(entry, tuple):
            self._add_config(*entry)
        else:
            self._add_config(entry)

    def _add_config(self, config_class: type, section: str | None = None) -> None:
        """Adds an option for each field of a class, named `--field` or `--section.field`."""
        group = self.add_argument_group(summary_of(config_class).removesuffix("."))
        hints = hints_of(config_class)
        for field in option_fields(config_class):
            name = f"{section}.{field.name}" if section else field.name
            argument = _Argument(
                name, hints[field.name], "", default_of(field), (config_class, field.name)
            )
            self._add(group, argument, is_rare(field))

    def _add(self, place: Any, argument: "_Argument", rare: bool) -> None:
        if rare:
            self._advanced.append(argument)
        else:
            self._arguments.append((argument, argument.add_to(place)))

    def help_text(self, everything: bool = False) -> str:
        """Returns the text of `--help`, or of `--help-all`."""
        # The texts are read from the source of the config classes, and here alone.
        for argument, action in self._arguments:
            action.help = argument.text()
        for action in [] if everything else self._rare:
            action.help = argparse.SUPPRESS
        self.epilog = self._end(everything)
        try:
            text: str = self.format_help()
        finally:
            for action in self._rare:
                action.help = ""
        return text

    def _end(self, everything: bool) -> str | None:
        """Returns what comes after the options: what else there is, or all of it."""
        if everything:
            return self.more() if self.more else None
        if not self._rare and not self.more:
            return None
        rare = f"{len(self._rare)} advanced options" if self._rare else ""
        return f"{self.prog} {HELP_ALL} also lists {' and '.join(filter(None, (rare, self.hint)))}."


@dataclass(frozen=True)
class _Argument:
    """An option as `add_argument` takes it.

    Attributes:
        name: without the hyphens.
        type: of its value.
        help: the text of the help; empty for a field, whose docstring it is.
        default: the value if it is left out; `dataclasses.MISSING` where it must not be.
        field: the config class and the name of the field, if it is one.
    """

    name: str
    type: Hint
    help: str
    default: object
    field: tuple[type, str] | None = None

    def text(self) -> str:
        """Returns the text of the help."""
        if self.field is None:
            return self.help
        config_class, name = self.field
        return field_docs(config_class).get(name, "")

    def add_to(self, place: Any) -> argparse.Action:
        """Adds the option to a parser or to a group of one."""
        needed = self.default is dataclasses.MISSING
        given: dict[str, Any] = {"required": True} if needed else {"default": self.default}
        added = place.add_argument(f"--{self.name}", type=self.type, help=self.help, **given)
        assert isinstance(added, argparse.Action)
        return added


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


def is_mapping(typehint: Hint) -> bool:
    """Whether an option takes names with values, or nothing."""
    kinds = typing.get_args(typehint) if type(None) in typing.get_args(typehint) else (typehint,)
    return any(typing.get_origin(kind) is dict for kind in kinds)


def takes_switches(typehint: Hint) -> bool:
    """Whether the values of a mapping may be switches, so that a name alone means true."""
    return bool in typing.get_args(typing.get_args(typehint)[1])


def _fields(config_class: type[Config]) -> list[str]:
    return [field.name for field in dataclasses.fields(config_class)]  # type: ignore[arg-type]
