"""Checks what JSON and YAML files hold against the dataclass that says what they should.

A file may be damaged, or be anybody's. An error names the place of a value of the wrong type in the
file, before the program trips over it somewhere.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from tfscale.errors import DataError, TfscaleError
from tfscale.files.typehints import UNFIT, TypeRules

T = TypeVar("T")


def _single(value: object, hint: type) -> object:
    if hint is Any:  # The hint itself: a dataclass may ask for any JSON.
        return value
    if hint in (int, float):
        # A whole number in JSON may stand for a number; true and false are not numbers.
        fits = isinstance(value, (int, hint)) and not isinstance(value, bool)
    else:
        fits = isinstance(value, hint)
    return value if fits else UNFIT


_RULES = TypeRules(
    single=_single,
    items=lambda value: value if isinstance(value, list) else None,
    words={
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        type(None): "null",
        dict: "a mapping",
        list: "a list",
    },
    several="a list, each {}",
)


def from_fields(
    kind: type[T], content: object, where: str, error: type[TfscaleError] = DataError
) -> T:
    """Returns an object of a dataclass, and of those in its fields, from what JSON or YAML gave.

    Args:
        kind: the dataclass; its types may be int, float, str, bool, None, Any, Literal, list, dict,
            unions of these, and dataclasses.
        content: what was read.
        where: the file and the place in it, for the error.
        error: the class of the error.

    Raises:
        TfscaleError: of the class `error`: a name that is unknown or missing, a value of the wrong
            type, or one that the dataclass refuses.

    Example:
        from_fields(Shard, {"file": "a", "tokens": "9"}, "manifest.json")
        # DataError: manifest.json: tokens should be a whole number; received '9'
    """
    check_fields(kind, content, where, error)
    try:
        return _object(kind, content)
    except TfscaleError as refused:
        raise error(f"{where}: {refused}") from refused


def check_fields(
    kind: type,
    content: object,
    where: str,
    error: type[TfscaleError] = DataError,
    *,
    others: bool = False,
) -> None:
    """Checks names and values as `from_fields` does, without making an object.

    Args:
        kind: as there.
        content: as there.
        where: as there.
        error: as there.
        others: whether there may be names that the dataclass does not have.
    """
    if not isinstance(content, Mapping):
        raise error(f"{where} should hold names and values; received {_shown(content)}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := [name for name in content if name not in fields]:
        if not others:
            raise error(
                f"{where}: unknown name {_shown(unknown[0])}; there are {', '.join(fields)}"
            )
    for name, field in fields.items():
        needed = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if needed and name not in content:
            raise error(f"{where}: {name} is missing")
    for name, hint in typing.get_type_hints(kind).items():
        if name in content:
            _check(hint, content[name], f"{where}: {name}", error, others)


def _check(
    hint: object, value: object, where: str, error: type[TfscaleError], others: bool
) -> None:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        check_fields(hint, value, where, error, others=others)  # type: ignore[arg-type]
    elif origin is list and isinstance(value, list):
        for place, item in enumerate(value):
            _check(arguments[0], item, f"{where}[{place}]", error, others)
    elif origin is dict and isinstance(value, dict):
        for name, item in value.items():
            _check(arguments[1], item, f"{where}.{name}", error, others)
    elif _RULES.converted(value, hint) is UNFIT:
        raise error(f"{where} should be {_RULES.described(hint)}; received {_shown(value)}")


def _object(kind: type[T], content: object) -> T:
    hints, entries = typing.get_type_hints(kind), cast(Mapping, content)
    return kind(**{name: _made(hints[name], value) for name, value in entries.items()})


def _made(hint: object, value: object) -> object:
    """Returns the checked value, with dataclasses made of their mappings."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _object(cast(type, hint), value)
    if origin is list and isinstance(value, list):
        return [_made(arguments[0], item) for item in value]
    if origin is dict and isinstance(value, dict):
        return {name: _made(arguments[1], item) for name, item in value.items()}
    return value


def _shown(value: object) -> str:
    """Returns a value in few characters; large values by their kind."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of many digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
