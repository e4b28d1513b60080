"""Values checked against type hints, by rules that options and files have each of their own."""

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from tfscale.registry import NameIn

UNFIT = object()
"""Stands for the result where a value does not fit its type."""


@dataclass(frozen=True)
class TypeRules:
    """How values are checked and described.

    Attributes:
        single: takes a value and a type that is not made of others; returns the value in the form
            of the type, or UNFIT.
        items: takes a value where a list is meant; returns its items, or None.
        words: type -> its name in messages. A union leaves out types of an empty name.
        several: how a list is described, with {} for its items.
    """

    single: Callable[[object, type], object]
    items: Callable[[object], list | None]
    words: Mapping[object, str]
    several: str

    def converted(self, value: object, hint: object) -> object:
        """Returns a value in the form of its type, or UNFIT.

        Args:
            value: what was received.
            hint: a type, a `Literal`, a list or dict of such, a union, or a name of a registry.
        """
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if name_in := registered_names(hint):
            value = self.converted(value, arguments[0])
            return value if name_in.takes(value) else UNFIT
        if origin is typing.Literal:
            # True equals 1, and is another choice.
            fitting = (
                choice
                for choice in arguments
                if isinstance(value, type(choice)) and value == choice
                if isinstance(value, bool) == isinstance(choice, bool)
            )
            return next(fitting, UNFIT)
        if origin in (typing.Union, types.UnionType):
            # Types of a name of their own come first: others may take any value.
            ordered = sorted(arguments, key=lambda argument: argument not in self.words)
            tried = (self.converted(value, argument) for argument in ordered)
            return next((result for result in tried if result is not UNFIT), UNFIT)
        if origin in (list, Sequence):
            items = self.items(value)
            if items is None:
                return UNFIT
            results = [self.converted(item, arguments[0]) for item in items]
            return UNFIT if any(result is UNFIT for result in results) else results
        if origin is dict:
            if not isinstance(value, dict):
                return UNFIT
            entries = {name: self.converted(item, arguments[1]) for name, item in value.items()}
            return UNFIT if any(entry is UNFIT for entry in entries.values()) else entries
        return self.single(value, cast(type, hint))

    def described(self, hint: object) -> str:
        """Returns a type in words: "a whole number", "one of unigram, bpe"."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if name_in := registered_names(hint):
            return "one of " + ", ".join(name_in.names())
        if origin is typing.Literal:
            return "one of " + ", ".join(map(str, arguments))
        if origin in (typing.Union, types.UnionType):
            return " or ".join(filter(None, map(self.described, arguments)))
        if origin in (list, Sequence):
            return self.several.format(self.described(arguments[0]))
        return self.words.get(origin or hint, getattr(hint, "__name__", str(hint)))


def registered_names(hint: object) -> NameIn | None:
    """Returns the mark of an option whose value is a name of a registry; None for any other."""
    marks = getattr(hint, "__metadata__", ())
    return next((mark for mark in marks if isinstance(mark, NameIn)), None)


def names_offered(hint: object) -> NameIn | None:
    """Returns the mark of an option whose value is a name of a registry, or a list of such."""
    items = typing.get_args(hint) if typing.get_origin(hint) is list else ()
    return registered_names(items[0] if items else hint)
