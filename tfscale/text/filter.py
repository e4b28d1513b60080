"""The interface of filters: which documents of a corpus are worth training on."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from tfscale.config.prepare import PrepareConfig
from tfscale.errors import ConfigError
from tfscale.registry import FILTERS


@dataclass(frozen=True)
class Dropped:
    """Says that a filter drops a document.

    Attributes:
        reason: one of the filter's `reasons`; the manifest counts it.
    """

    reason: str


class Filter(abc.ABC):
    """A rule that drops documents, named after where it was published.

    A filter is a subclass in a file of its own, registered by `tfscale.register`. Its thresholds
    are attributes of the class, as published: a subclass with another name may have others. It must
    be a pure function of the text, because several processes apply it.

    Attributes:
        name: what `--filters` calls it.
        summary: what it is, in a line, for `--help`.
        source: where it was published.
        reasons: each reason for dropping, and what it says in words.
        takes: options of `PrepareConfig` that it reads. Setting one of them puts it on without
            being named, and naming it without them is refused.

    Example:
        @tfscale.register
        class NoTables(tfscale.Filter):
            name, summary = "no_tables", "drops documents that are mostly tables"
            reasons = {"cells": "half of the lines have a |"}

            def __call__(self, text):
                lines = text.splitlines()
                cells = sum("|" in line for line in lines)
                return tfscale.Dropped("cells") if 2 * cells > len(lines) else text
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    reasons: ClassVar[Mapping[str, str]] = MappingProxyType({})
    takes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the filter known by its name; `tfscale.register` calls it."""
        FILTERS.add(getattr(cls, "name", ""), cls)

    @classmethod
    def of(cls, config: PrepareConfig) -> "Filter":
        """Returns the filter with the options that it takes.

        Raises:
            ConfigError: an option has a value that the filter does not know.
        """
        return cls()

    @abc.abstractmethod
    def __call__(self, text: str) -> str | Dropped:
        """Judges a document.

        Args:
            text: the document, cleaned.

        Returns:
            The text that is kept, most often as it was; or why the document is dropped.
        """


def filters_of(config: PrepareConfig) -> list[Filter]:
    """Returns the filters that the options ask for: those that are named, in their order, after
    those that an option of their own puts on.

    Raises:
        ConfigError: a filter is named, but the option that it needs is not set; or has a value that
            the filter does not know.
    """
    chosen: list[type[Filter]] = []
    for filter_class in FILTERS:
        if filter_class.takes and any(getattr(config, name) for name in filter_class.takes):
            chosen.append(filter_class)
    for name in config.filters:
        filter_class = FILTERS.get(name)
        if filter_class.takes and filter_class not in chosen:
            options = " or ".join(f"--{option.replace('_', '-')}" for option in filter_class.takes)
            raise ConfigError(f"the filter {name} needs {options}")
        if filter_class not in chosen:
            chosen.append(filter_class)
    return [filter_class.of(config) for filter_class in chosen]
