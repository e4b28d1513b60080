"""Values of options, checked against their types.

In config classes, in arguments of the Python API, and in YAML.
"""

import dataclasses
import difflib
import functools
import inspect
import math
import numbers
import os
import typing
from collections.abc import Callable, Iterable, Mapping, Set
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from tfscale.errors import ConfigError, check_range
from tfscale.files.json_text import JsonObject
from tfscale.files.typehints import UNFIT, TypeRules

Function = TypeVar("Function", bound=Callable[..., object])
Config = TypeVar("Config", bound="Options")
LARGEST = 2**62 - 1
"""TensorFlow and NumPy keep whole numbers in 64 bits, and numbers are added to seeds."""


class Options:
    """Base of the config classes, frozen dataclasses whose values must fit their types.

    Values are brought to the form that their field names: a path becomes a string, a string or a
    number where a list is meant becomes a list of one, a whole number where a number is meant
    becomes a float.

    Example:
        TrainConfig(steps=5.5)    # ConfigError: train.steps: expected a whole number; received 5.5
    """

    section: ClassVar[str] = ""
    """Beginning of the options' names in messages, as in YAML files."""
    earlier_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Options whose default has changed, with the value that a file means which lacks them."""

    def __post_init__(self) -> None:
        hints = hints_of(type(self))  # type: ignore[arg-type]
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = checked(self._named(field.name), getattr(self, field.name), hints[field.name])
            object.__setattr__(self, field.name, value)

    def check_range(self, holds: bool, name: str, expected: str) -> None:
        """Refuses the value of a field.

        Raises:
            ConfigError: `holds` is False; names the option, its value and what was expected.
        """
        check_range(holds, self._named(name), getattr(self, name), expected)

    @classmethod
    def of_record(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the options that a file of this or an earlier version holds, as this version
        writes them.

        Files are written with all options. One that lacks an option is older than the option, and
        gets the value that it was made with and not a default of today.

        Args:
            options: what was written down, by name.

        Example:
            TransformerConfig.of_record({"hidden_dim": 64})["positions"]    # "learned"
        """
        return {**cls.earlier_defaults, **options}

    def _named(self, name: str) -> str:
        return f"{self.section}.{name}" if self.section else name


@functools.cache
def hints_of(config_class: type) -> dict[str, Any]:
    """Returns the types of the fields of a config class, names of registries included."""
    return typing.get_type_hints(config_class, include_extras=True)


def checked(name: str, value: object, typehint: object) -> object:
    """Returns a value in the form of its type.

    Args:
        name: the option's name, for the message.
        value: what was received.
        typehint: `bool`, `int`, `float`, `str`, a `Literal`, a name of a registry (`NameIn`), a
            list of these, or a union of these and None.

    Raises:
        ConfigError: the value is of another type, is not one of the choices, or is not finite.

    Example:
        checked("text", Path("a.txt"), list[str])    # ["a.txt"]
    """
    converted = RULES.converted(value, typehint)
    if converted is UNFIT:
        received, wanted = " ".join(repr(value).split()), describe(typehint)
        may_be = typing.get_args(typehint) or (typehint,)
        if float in may_be and isinstance(value, numbers.Real) and not isinstance(value, bool):
            wanted = "a finite number"
        elif (
            typehint is int and isinstance(value, numbers.Integral) and not isinstance(value, bool)
        ):
            wanted = "a whole number below 2**62"
        received = received if len(received) <= 80 else f"{received[:77]}..."
        raise ConfigError(f"{name}: expected {wanted}; received {received}")
    return converted


def checks_arguments(function: Function) -> Function:
    """Makes a function check its arguments, as config classes check their fields.

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
    def call(*arguments: object, **named: object) -> object:
        bound = signature.bind(*arguments, **named)
        for name in bound.arguments:
            parameter = signature.parameters[name]
            if parameter.kind is not parameter.VAR_KEYWORD:
                bound.arguments[name] = checked(name, bound.arguments[name], parameter.annotation)
        return function(*bound.args, **bound.kwargs)

    return typing.cast(Function, call)


def _bool(value: object) -> object:
    # NumPy's truth values are not instances of bool.
    return bool(value) if type(value).__name__ in ("bool", "bool_") else UNFIT


def _int(value: object) -> object:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        return UNFIT
    number = int(value)
    return number if abs(number) <= LARGEST else UNFIT


def _float(value: object) -> object:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return UNFIT
    try:
        number = float(value)
    except OverflowError:
        return UNFIT
    return number if math.isfinite(number) else UNFIT


def _str(value: object) -> object:
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    return value if isinstance(value, str) else UNFIT


_SINGLE: dict[object, Callable[[object], object]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    type(None): lambda value: None if value is None else UNFIT,
}


def _single(value: object, typehint: object) -> object:
    if typehint in _SINGLE:
        return _SINGLE[typehint](value)
    if isinstance(typehint, type) and issubclass(typehint, Options):
        return value if isinstance(value, typehint) else UNFIT
    return value


def _items(value: object) -> list[object]:
    apart = str | bytes | os.PathLike | Mapping | Set
    return list(value) if isinstance(value, Iterable) and not isinstance(value, apart) else [value]


RULES = TypeRules(
    single=_single,
    items=_items,
    words={
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        type(None): "",
        dict: "NAME=VALUE, once or more",
    },
    several="{}, once or more",
)
"""Lenient: a path is text, one value is a list of one, a whole number is a number."""


def describe(typehint: object) -> str:
    """Returns a type in words: "a whole number", "one of unigram, bpe"."""
    return RULES.described(typehint)


def to_dict(config: object) -> JsonObject:
    """Returns the fields of a config as plain values, for YAML, JSON and digests."""
    return dataclasses.asdict(config)  # type: ignore[call-overload]


def make_config(kind: type[Config], options: Mapping[str, object]) -> Config:
    """Returns an object of a config class from keyword arguments.

    Raises:
        ConfigError: an option that the class does not have, with the closest one that it has; or
            one that is missing.
    """
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
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


def config_of(
    kind: type[Config], config: Config | None, options: Mapping[str, object], name: str = "config"
) -> Config:
    """Returns the config object that a function was given, or makes one of keyword arguments.

    Args:
        kind: the config class.
        config: the object; None if there are keyword arguments.
        options: the keyword arguments.
        name: the parameter of the object, for the message.

    Raises:
        ConfigError: both were given; or see `make_config`.
    """
    if config is None:
        return make_config(kind, options)
    if options:
        raise ConfigError(
            f"give either {name} or single options of {kind.__name__}; received"
            f" {', '.join(options)} beside it"
        )
    return config
