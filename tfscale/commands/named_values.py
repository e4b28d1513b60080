"""The words NAME=VALUE of an option that takes names with values, as one YAML mapping."""

import math
import typing
from collections.abc import Sequence

import yaml

from tfscale.commands.parser import Hint
from tfscale.errors import ConfigError


def named_values(shown_as: str, words: Sequence[str], typehint: Hint) -> str:
    """Returns the mapping as a flow of YAML.

    Args:
        shown_as: the option, for messages.
        words: NAME=VALUE; the VALUE may hold more of the sign.
        typehint: `dict[str, float]`; `dict[str, list[str]]`, whose names may be given again with
            more values; a type of other values, which stay text and are a list where their name is
            given again; or such a type or None.

    Raises:
        ConfigError: a word without a name or a value, a name that is given twice, or a value that
            is not a number where one is meant.

    Example:
        named_values("--train.mix", ["web=0.7", "code=0.3"], dict[str, float])
        # "{web: 0.7, code: 0.3}"
    """
    kinds = [typehint, *typing.get_args(typehint)]
    [value_type] = [typing.get_args(kind)[1] for kind in kinds if typing.get_origin(kind) is dict]
    values: dict[str, typing.Any] = {}
    for word in words:
        name, given, value = word.partition("=")
        if not name or not given or not value:
            raise ConfigError(f"{shown_as}: expected NAME=VALUE; received {word!r}")
        if value_type is not float:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise ConfigError(f"{shown_as}: {name} is given twice; received {' '.join(words)}")
        else:
            values[name] = _number(shown_as, word, value)
    if value_type is not float and typing.get_origin(value_type) is not list:
        values = {name: given if len(given) > 1 else given[0] for name, given in values.items()}
    # Text is quoted, so that none of it is a number, a truth value or a line end; numbers are not.
    style = None if value_type is float else '"'
    flow = yaml.safe_dump(
        values, default_flow_style=True, default_style=style, width=float("inf"), sort_keys=False
    )
    return str(flow).strip()


def _number(shown_as: str, word: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{shown_as}: expected NAME=NUMBER; received {word!r}")
    return number
