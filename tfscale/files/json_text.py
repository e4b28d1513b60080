"""JSON as its standard has it.

Written text holds no NaN and no Infinity, and reading fails in one way.
"""

import functools
import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

JsonValue: TypeAlias = Any
"""A value as JSON has it, of the type that its reader expects there and checks."""
JsonObject = dict[str, JsonValue]
"""A JSON object: names with numbers, texts, truth values, null, lists and such objects."""


def to_json(value: object, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Returns `value` as JSON text; numbers that are not finite become null, NumPy's numbers plain
    ones.

    Raises:
        TypeError: a value that JSON cannot hold.

    Example:
        to_json({"loss": float("nan")})  # '{"loss": null}'
    """
    dumps = functools.partial(
        json.dumps,
        indent=indent,
        sort_keys=sort_keys,
        ensure_ascii=False,
        allow_nan=False,
        default=_plain,
    )
    try:
        return dumps(value)
    except ValueError:  # Python's word for a number that is not finite.
        return dumps(_finite(value))


def _plain(value: object) -> object:
    if not hasattr(value, "item"):
        raise TypeError(f"{type(value).__name__} is not JSON")
    return value.item()


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(content: str | bytes) -> JsonValue:
    """Returns the value of a JSON text.

    Raises:
        ValueError: it is not JSON, not UTF-8, nested too deeply, or holds an integer of thousands
            of digits.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error
