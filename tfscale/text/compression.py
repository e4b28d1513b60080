"""The interface of compressions: one packed file, read as a stream."""

import abc
from collections.abc import Callable
from typing import IO, ClassVar

from tfscale.registry import COMPRESSIONS


class Compression(abc.ABC):
    """A way in which one file is packed.

    A compression is a subclass in a file of its own, registered by `tfscale.registry.register`.
    What a file is, its first bytes say; its name is only what it is expected to be.

    Attributes:
        name: the name of the compression.
        what: a file of it in words, for messages: "gzip".
        suffixes: endings of file names, in lower case.
        magic: first bytes of such a file.
        errors: what reading raises for damaged bytes, besides EOFError and OSError.
        modules: what is imported for it, of the extra `corpora`.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    magic: ClassVar[tuple[bytes, ...]]
    errors: ClassVar[tuple[type[Exception], ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the compression known by its name; `tfscale.registry.register` calls it."""
        COMPRESSIONS.add(getattr(cls, "name", ""), cls)

    @abc.abstractmethod
    def open(self, raw: IO[bytes], on_rest: Callable[[], None]) -> IO[bytes]:
        """Opens the unpacked bytes of a file.

        Args:
            raw: the packed bytes, from their beginning.
            on_rest: is called once if other bytes follow the packed ones, which are passed over.

        Returns:
            A stream whose `read` raises EOFError where the packed bytes end too early.
        """


def compression_of(head: bytes) -> Compression | None:
    """Returns the compression that a file's first bytes are of; None if they are of none."""
    kinds = (kind for kind in COMPRESSIONS if head.startswith(kind.magic))
    return next((kind() for kind in kinds), None)


def compression_named(name: str) -> Compression | None:
    """Returns the compression that a file's name speaks of; None if there is none."""
    kinds = (kind for kind in COMPRESSIONS if name.lower().endswith(kind.suffixes))
    return next((kind() for kind in kinds), None)


def plain_name(name: str) -> str:
    """Returns a file's name in lower case without the endings of compressions: "a.jsonl"."""
    name = name.lower()
    while compression := compression_named(name):
        name = name.removesuffix(next(end for end in compression.suffixes if name.endswith(end)))
    return name
