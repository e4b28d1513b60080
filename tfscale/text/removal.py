"""The interface of removals: what is replaced by a placeholder before anything else sees it."""

import abc
from collections.abc import Iterator
from typing import ClassVar

from tfscale.config.prepare import PrepareConfig
from tfscale.registry import REMOVALS

Span = tuple[int, int]
"""Where a part of a text begins, and where it ends, in characters."""


class Removal(abc.ABC):
    """Finds what shall not be in a corpus, such as e-mail addresses.

    A removal is a subclass in a file of its own, registered by `tfscale.register`. It must be a
    pure function of the text, because several processes apply it.

    Attributes:
        name: what `--remove` calls it.
        summary: what it finds, in a line, for `--help`.
        placeholder: what the text has instead.

    Example:
        @tfscale.register
        class Orders(tfscale.Removal):
            name, summary, placeholder = "orders", "numbers of orders", "<order>"

            def find(self, text):
                return (match.span() for match in re.finditer(r"\\bORD-[0-9]{6}\\b", text))
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    placeholder: ClassVar[str]

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the removal known by its name; `tfscale.register` calls it."""
        REMOVALS.add(getattr(cls, "name", ""), cls)

    @classmethod
    def of(cls, config: PrepareConfig) -> "Removal":
        """Returns the removal with its options.

        Raises:
            ConfigError: an option has a value that it does not know, or a library is missing.
        """
        return cls()

    @abc.abstractmethod
    def find(self, text: str) -> Iterator[Span]:
        """Yields where the parts to be replaced are, in any order; they may overlap.

        Args:
            text: the document, cleaned.
        """

    def __call__(self, text: str) -> tuple[str, int]:
        """Returns the text with placeholders, and how many there are.

        Parts that overlap get one placeholder.
        """
        parts, count, end = [], 0, 0
        for start, stop in sorted(self.find(text)):
            if start >= end:
                parts += [text[end:start], self.placeholder]
                count += 1
            end = max(end, stop)
        return ("".join([*parts, text[end:]]), count) if count else (text, 0)


def removals_of(config: PrepareConfig) -> list[Removal]:
    """Returns the removals that the options name, in their order.

    Raises:
        ConfigError: see `Removal.of`.
    """
    return [REMOVALS.get(name).of(config) for name in config.remove]
