"""Values of options in messages, and names of a registry among them."""

import difflib
import typing

from tfscale.commands.parser import Hint
from tfscale.config.options import describe
from tfscale.errors import ConfigError
from tfscale.files.typehints import names_offered

_LONGEST_SHOWN = 80
"""Characters of a wrong value that a message repeats."""


def brief(value: object) -> str:
    """Returns a value as a message shows it: the beginning of its `repr`, where that is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def check_plain(shown_as: str, value: object, typehint: Hint) -> None:
    """Refuses a text such as 1:30 for a number, and one such as yes for a truth value.

    jsonargparse reads texts as YAML 1.1, where these are 90 and true: as many minutes, or seconds,
    as nobody can tell who reads it, and a country (no) that is false.
    """
    kinds = set(typing.get_args(typehint)) - {type(None)} or {typehint}
    if not isinstance(value, str):
        return
    numeric, switch = kinds <= {int, float}, kinds == {bool}
    if (numeric and ":" in value) or (switch and value.lower() not in ("true", "false")):
        raise ConfigError(f"{shown_as}: expected {describe(typehint)}; received {brief(value)}")


def check_name(shown_as: str, value: object, typehint: Hint) -> None:
    """Refuses a value, or one of a list, that is not a name of the registry of its option."""
    choices = names_offered(typehint)
    for name in value if isinstance(value, list) else [value]:
        if choices is None or choices.takes(name):
            continue
        if reason := choices.refused.get(str(name)):
            raise ConfigError(f"{shown_as}: {name} is not offered: {reason}")
        names = choices.names()
        # A capital is not a slip that makes another name the nearer one: AdamW is adamw, not adam.
        near = [one for one in names if one.lower() == str(name).lower()]
        near = near or difflib.get_close_matches(str(name), names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"{shown_as}: expected {describe(typehint)}; received {brief(name)}{hint}"
        )
