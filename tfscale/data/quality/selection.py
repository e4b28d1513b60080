"""Chooses the documents of the training text by the quality options."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

from tfscale.config import PrepareConfig
from tfscale.config.quality import QualityOptions
from tfscale.data.quality.decontamination import Decontamination
from tfscale.data.quality.examining import (
    DUPLICATES,
    NEAR_DUPLICATES,
    Examination,
    Examined,
    Examiner,
    minhash_of,
    modules_of,
)
from tfscale.data.quality.near_duplicates import NearDuplicates
from tfscale.data.quality.tally import Tally
from tfscale.data.sources import reading_of
from tfscale.data.splits import split_hashes
from tfscale.data.spool import Documents
from tfscale.data.workers import in_order
from tfscale.errors import check_installed
from tfscale.files.json_text import JsonObject
from tfscale.terminal import note
from tfscale.text.cleaning import Cleaner
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.reader import ReadCounts

_SMALL = 8
"""Batches of a text for which no other process is started: that takes longer than the work."""


def is_asked_for(config: PrepareConfig) -> bool:
    """Returns whether an option that chooses documents is set."""
    default = QualityOptions()
    return any(
        getattr(config, field.name) != getattr(default, field.name)
        for field in dataclasses.fields(QualityOptions)
    )


class Selection:
    """The documents of the training text that are kept, and what became of the others.

    Args:
        config: the options.
        clean: the cleaning.
        processes: how many processes examine documents; the result does not depend on it.
        progress: whether to say on stderr what is unusual.

    Attributes:
        tally: what became of the documents so far.
        counts: its counts for the manifest, by name; see `described`.
        statistics: its statistics for the report.

    Raises:
        ConfigError: an option has a value that a filter or a removal does not know, or a library is
            missing.
        DataError: an evaluation text cannot be read.
    """

    def __init__(self, config: PrepareConfig, clean: Cleaner, processes: int, progress: bool):
        self._config, self._clean, self._processes = config, clean, processes
        if config.report:
            check_installed("corpora", "py3langid")
            check_installed("train", "jinja2", "matplotlib")
        self._minhash = minhash_of(config)
        # Refused before the evaluation texts are read.
        Examiner(config, clean, None)
        self._decontamination = _evaluation(config, clean, progress)
        self._examiner = Examiner(config, clean, self._decontamination)
        counted = [f"removed/{removal.name}" for removal in self._examiner.removals]
        if self._minhash:
            counted.append(NEAR_DUPLICATES)
        self.tally = Tally(self._examiner.filters, counted, config.report)
        self.counts, self.statistics = self.tally.counts, self.tally.statistics
        if self._decontamination:
            self.counts["evaluation_documents"] = self._decontamination.documents
            self.counts["evaluation_documents_too_short"] = self._decontamination.too_short
        self._seen: set[bytes] = set()
        self._index = NearDuplicates(self._minhash) if self._minhash else None

    @property
    def described(self) -> JsonObject:
        """How the documents were chosen, for the manifest, besides the options."""
        how: JsonObject = {}
        if self._minhash:
            how["near_duplicate_signatures"] = self._minhash.described
        if self._config.languages or self._config.report:
            from importlib import metadata

            how["languages_by"] = f"py3langid {metadata.version('py3langid')}"
        return how

    def kept(self, batches: Iterable[list[str]]) -> Iterator[Documents]:
        """Yields the documents that are kept, in order.

        Of the documents that pass the filters, the first of those that are the same is kept, if
        `drop_duplicates` asks for it, and of the near duplicates those without an earlier one. The
        documents of earlier calls are earlier ones.
        """
        for documents in self._examined(batches):
            dropped = [document.dropped for document in documents]
            if self._config.drop_duplicates:
                for place, document in enumerate(documents):
                    if not dropped[place] and document.digest in self._seen:
                        dropped[place] = DUPLICATES, ""
                    elif not dropped[place]:
                        self._seen.add(document.digest)
            if self._index:
                left = [place for place, why in enumerate(dropped) if not why]
                similar = self._index.add([documents[place].signature for place in left])
                for place in itertools.compress(left, similar):
                    dropped[place] = NEAR_DUPLICATES, ""
            for document, why in zip(documents, dropped, strict=True):
                self.tally.add(document, why)
            kept = [document for document, why in zip(documents, dropped, strict=True) if not why]
            texts = [document.text for document in kept]
            places = split_hashes(document.digest for document in kept)
            yield Documents(texts, [text.encode("utf-8") for text in texts], places)

    def _examined(self, batches: Iterable[list[str]]) -> Iterator[list[Examined]]:
        batches = iter(batches)
        first = [batch for _, batch in zip(range(_SMALL), batches, strict=False)]
        job = self.examination
        if self._processes == 1 or job is None or len(first) < _SMALL:
            return map(self._examiner, itertools.chain(first, batches))
        return in_order(job, itertools.chain(first, batches), self._processes)

    @property
    def examination(self) -> Examination | None:
        """The job of other processes that examine documents.

        None where they cannot import a filter or a removal.
        """
        modules = modules_of(self._examiner)
        if modules is None:
            return None
        return Examination(self._config, self._clean, self._decontamination, modules)


def _evaluation(config: PrepareConfig, clean: Cleaner, progress: bool) -> Decontamination | None:
    """Reads the evaluation texts, as the training text is read."""
    if not config.decontaminate:
        return None
    documents = (
        (file.name, clean(text))
        for file in find_text(config.decontaminate)
        for text in read_documents([file], reading_of(config, ReadCounts()))
    )
    evaluation = Decontamination.of(documents, config.decontaminate_ngram)
    if progress and evaluation.too_short:
        note(
            f"{evaluation.too_short:,} of {evaluation.documents:,} evaluation documents have fewer"
            f" than {config.decontaminate_ngram} words and match nothing; --decontaminate-ngram"
            " takes fewer words"
        )
    return evaluation
