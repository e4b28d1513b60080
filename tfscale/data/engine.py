"""The interface of engines: what turns documents into tokens, on one machine or on many."""

import abc
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from tfscale.config import PrepareConfig
from tfscale.data.manifest import Split
from tfscale.data.quality.selection import Selection
from tfscale.data.splits import Part
from tfscale.registry import ENGINES
from tfscale.text.cleaning import Cleaner
from tfscale.text.reader import TextFile
from tfscale.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class Task:
    """The input of an engine.

    Attributes:
        config: the options.
        sources: the files of each part of the text.
        texts: the documents of the training text, where they are not in files.
        tokenizer: what to encode by; None where one is to be trained.
        cleaner: the cleaning of the documents.
        selection: chooses among the training documents; None where no option asks for it. The
            engine adds to its `tally`.
        progress: whether to show progress on stderr.
    """

    config: PrepareConfig
    sources: dict[Part, list[TextFile]]
    texts: Iterable[object] | None
    tokenizer: Tokenizer | None
    cleaner: Cleaner
    selection: Selection | None
    progress: bool


@dataclass(frozen=True)
class Done:
    """The result of an engine, besides the shards, their index and the tokenizer's folder.

    Attributes:
        tokenizer: what the text is encoded by.
        splits: the splits that have documents, with their shards.
        counts: what was met while reading, for the manifest.
    """

    tokenizer: Tokenizer
    splits: dict[str, Split]
    counts: dict[str, int]


class Engine(abc.ABC):
    """Does the work of `tfscale prepare`: reads, chooses, splits, tokenizes, writes shards.

    Every engine writes the same bytes. An engine is a subclass in a file of its own under
    `tfscale/data/engines`, registered by `tfscale.register`.

    Attributes:
        name: what `--engine` calls it.
        summary: what it is, in a line, for `--help`.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the engine known by its name; `tfscale.register` calls it."""
        ENGINES.add(getattr(cls, "name", ""), cls)

    def check(self, config: PrepareConfig, texts: Iterable[object] | None) -> None:
        """Refuses what the engine cannot do, before anything is read.

        Args:
            config: the options.
            texts: see `Task`.

        Raises:
            ConfigError: an option, or a library that is missing.
        """
        return None

    @abc.abstractmethod
    def write(self, directory: str, task: Task) -> Done:
        """Writes the shards, `train.index` and the folder of the tokenizer.

        Args:
            directory: the data folder; what is not part of it is gone at the end.
            task: the text and what to make of it.

        Raises:
            DataError: the text cannot be read, is empty, or has too few documents for its splits.
            TokenizerError: the text does not support the vocabulary.
        """
