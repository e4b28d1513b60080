"""Values of options, checked against their types: in config classes, in arguments of the Python
API, in YAML."""

import dataclasses
import difflib
import functools
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, ClassVar, TypeVar

from tfscale.errors import ConfigError
from tfscale.registry import NameIn

Function = TypeVar("Function", bound=Callable[..., Any])
LARGEST = 2**62 - 1
"""TensorFlow and NumPy keep whole numbers in 64 bits, and numbers are added to seeds."""


class Options:
    """Base of the config classes, frozen dataclasses: an object whose values do not fit their types
    is refused.

    Values are brought to the form that their field names: a path becomes a string, a string or a
    number where a list is meant becomes a list of one, a whole number where a number is meant
    becomes a float.

    Example:
        TrainConfig(steps=5.5)    # ConfigError: train.steps: expected a whole number; received 5.5
    """

    section: ClassVar[str] = ""
    """What the names of the options begin with in messages, as in YAML files."""

    def __post_init__(self) -> None:
        hints = _hints(type(self))  # type: ignore[arg-type]
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            name = f"{self.section}.{field.name}" if self.section else field.name
            value = checked(name, getattr(self, field.name), hints[field.name])
            object.__setattr__(self, field.name, value)


@functools.cache
def _hints(config_class: Any) -> dict[str, Any]:
    return typing.get_type_hints(config_class, include_extras=True)


def checked(name: str, value: Any, typehint: Any) -> Any:
    """Returns a value in the form of its type.

    Args:
        name: the option's name, for the message.
        value: what was received.
        typehint: `bool`, `int`, `float`, `str`, a `Literal`, a list of these, or a union of these
            and None.

    Raises:
        ConfigError: the value is of another type, is not one of the choices, or is not finite.

    Example:
        checked("text", Path("a.txt"), list[str])    # ["a.txt"]
    """
    found = _converted(value, typehint)
    if found is _UNFIT:
        received, wanted = " ".join(repr(value).split()), describe(typehint)
        if typehint is float and isinstance(value, numbers.Real):
            wanted = "a finite number"
        elif (
            typehint is int and isinstance(value, numbers.Integral) and not isinstance(value, bool)
        ):
            wanted = "a whole number below 2**62"
        received = received if len(received) <= 80 else f"{received[:77]}..."
        raise ConfigError(f"{name}: expected {wanted}; received {received}")
    return found


def checks_arguments(function: Function) -> Function:
    """Has a function check its arguments as config classes check their fields, by the annotations
    of its parameters.

    A parameter of type `str` also takes an `os.PathLike`, a `Sequence[str]` also one string or
    path. What is annotated by another class than a config class is passed on as it is.

    Example:
        @checks_arguments
        def load(directory: str, threads: int = 1): ...

        load(Path("run"))      # directory is "run"
        load("run", "2")       # ConfigError: threads: expected a whole number; received '2'
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        bound = signature.bind(*arguments, **named)
        for name in bound.arguments:
            parameter = signature.parameters[name]
            if parameter.kind is not parameter.VAR_KEYWORD:
                bound.arguments[name] = checked(name, bound.arguments[name], parameter.annotation)
        return function(*bound.args, **bound.kwargs)

    return typing.cast(Function, call)


_UNFIT = object()


def _converted(value: Any, typehint: Any) -> Any:
    origin, arguments = typing.get_origin(typehint), typing.get_args(typehint)
    if origin is typing.Literal:
        fits = (
            choice for choice in arguments if isinstance(value, type(choice)) and value == choice
        )
        return next(fits, _UNFIT)
    if name_in := registered_names(typehint):
        return value if isinstance(value, str) and value in name_in.names() else _UNFIT
    if origin in (typing.Union, types.UnionType):
        # Types that are checked come first: the others take any value.
        ordered = sorted(arguments, key=lambda argument: argument not in _ONE)
        found = (_converted(value, argument) for argument in ordered)
        return next((one for one in found if one is not _UNFIT), _UNFIT)
    if origin in (list, Sequence):
        return _list(value, arguments[0])
    if typehint in _ONE:
        return _ONE[typehint](value)
    is_config = isinstance(typehint, type) and issubclass(typehint, Options)
    return _UNFIT if is_config and not isinstance(value, typehint) else value


def _list(value: Any, item: Any) -> Any:
    several = isinstance(value, Iterable) and not isinstance(
        value, str | bytes | os.PathLike | Mapping | Set
    )
    found = [_converted(one, item) for one in (value if several else [value])]
    return _UNFIT if any(one is _UNFIT for one in found) else found


def _bool(value: Any) -> Any:
    # NumPy's truth values are no instances of bool.
    return bool(value) if type(value).__name__ in ("bool", "bool_") else _UNFIT


def _int(value: Any) -> Any:
    fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(value) if fits and abs(int(value)) <= LARGEST else _UNFIT


def _float(value: Any) -> Any:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return _UNFIT
    try:
        found = float(value)
    except OverflowError:
        return _UNFIT
    return found if math.isfinite(found) else _UNFIT


def _str(value: Any) -> Any:
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    return value if isinstance(value, str) else _UNFIT


_ONE = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    type(None): lambda value: None if value is None else _UNFIT,
}


def registered_names(typehint: Any) -> NameIn | None:
    """Returns the mark of an option whose value is a name of a registry; None for any other."""
    marks = getattr(typehint, "__metadata__", ())
    return next((mark for mark in marks if isinstance(mark, NameIn)), None)


def describe(typehint: Any) -> str:
    """What a value of this type looks like, in words: "a whole number", "one of unigram, bpe"."""
    origin, arguments = typing.get_origin(typehint), typing.get_args(typehint)
    if name_in := registered_names(typehint):
        return "one of " + ", ".join(name_in.names())
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(
            describe(argument) for argument in arguments if argument is not type(None)
        )
    if origin in (list, Sequence):
        return f"{describe(arguments[0])}, once or more"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return words.get(typehint, str(getattr(typehint, "__name__", typehint)))


def to_dict(config: Any) -> dict[str, Any]:
    """The fields of a config as plain values, for YAML, JSON and digests."""
    return dataclasses.asdict(config)


def make_config(kind: Any, options: dict[str, Any]) -> Any:
    """An object of a config class from keyword arguments.

    Raises:
        ConfigError: an option that the class does not have, with the closest one that it has; or
            one that is missing.
    """
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for name in options:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}"
            raise ConfigError(f"unknown option {name} of {kind.__name__}; {hint}")
    for name, item in fields.items():
        needed = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if needed and name not in options:
            raise ConfigError(f"{kind.__name__} needs the option {name}")
    return kind(**options)
