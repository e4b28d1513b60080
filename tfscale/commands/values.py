"""Values of options in messages, and names of a registry among them."""

import difflib

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


def check_name(shown_as: str, value: object, typehint: Hint) -> None:
    """Refuses a value, or one of a list, that is not a name of the registry of its option."""
    choices = names_offered(typehint)
    for name in value if isinstance(value, list) else [value]:
        if choices is None or choices.takes(name):
            continue
        if reason := choices.refused.get(str(name)):
            raise ConfigError(f"{shown_as}: {name} is not offered: {reason}")
        near = difflib.get_close_matches(str(name), choices.names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"{shown_as}: expected {describe(typehint)}; received {brief(name)}{hint}"
        )
