"""The words NAME=VALUE of an option that takes names with values, as one YAML mapping."""

import json
import math
import typing
from collections.abc import Sequence

from tfscale.commands.parser import Hint
from tfscale.errors import ConfigError


def named_values(shown_as: str, words: Sequence[str], typehint: Hint) -> str:
    """Returns the mapping as a flow of YAML.

    Args:
        shown_as: the option, for messages.
        words: NAME=VALUE; the VALUE may hold more of the sign.
        typehint: `dict[str, float]`, or `dict[str, list[str]]`, whose names may be given again
            with more values; or such a type or None.

    Raises:
        ConfigError: a word without a name or a value, a name that is given twice, or a value that
            is not a number where one is meant.

    Example:
        named_values("--train.mix", ["web=0.7", "code=0.3"], dict[str, float])
        # '{"web": 0.7, "code": 0.3}'
    """
    kinds = [typehint, *typing.get_args(typehint)]
    [value_type] = [typing.get_args(kind)[1] for kind in kinds if typing.get_origin(kind) is dict]
    values: dict[str, typing.Any] = {}
    for word in words:
        name, given, value = word.partition("=")
        if not name or not given or not value:
            raise ConfigError(f"{shown_as}: expected NAME=VALUE; received {word!r}")
        if typing.get_origin(value_type) is list:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise ConfigError(f"{shown_as}: {name} is given twice; received {' '.join(words)}")
        else:
            values[name] = _number(shown_as, word, value)
    # JSON is YAML, but for characters beyond 16 bits, which it would write as two.
    return json.dumps(values, ensure_ascii=False)


def _number(shown_as: str, word: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{shown_as}: expected NAME=NUMBER; received {word!r}")
    return number
