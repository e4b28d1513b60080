"""The examination of one document, which does not depend on the others."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tfscale.config import PrepareConfig
from tfscale.data.quality.decontamination import Decontamination
from tfscale.data.splits import document_digest
from tfscale.errors import DataError, TfscaleError, reason
from tfscale.registry import module_of
from tfscale.text.cleaning import Cleaner
from tfscale.text.filter import Dropped, Filter, filters_of
from tfscale.text.languages import language_of
from tfscale.text.minhash import MinHash
from tfscale.text.removal import Removal, removals_of

CLEANED_AWAY = "cleaned_away"
DECONTAMINATE = "decontaminate"
DUPLICATES = "duplicates"
NEAR_DUPLICATES = "near_duplicates"
SAMPLE_CHARACTERS = 600
"""Characters of a sample in the report."""


class Examined(NamedTuple):
    """A document after cleaning, removal and filters.

    Attributes:
        text: what is left of it; of a dropped one, what the stage saw that dropped it.
        digest: see `tfscale.data.splits.document_digest`.
        dropped: what dropped it and why, such as ("c4", "sentences"); None if it is kept so far.
        counts: placeholders put by each removal ("removed/emails"), and 1 for each filter that
            changed the text ("edited/c4").
        signature: for near duplicates, where they are looked for.
        language: for the report.
    """

    text: str
    digest: bytes
    dropped: tuple[str, str] | None
    counts: dict[str, int]
    signature: bytes = b""
    language: str = ""

    @property
    def characters(self) -> int:
        """Characters of the text."""
        return len(self.text)

    @property
    def beginning(self) -> str:
        """The first characters of the text, one more than a sample of the report has."""
        return self.text[: SAMPLE_CHARACTERS + 1]


def minhash_of(config: PrepareConfig) -> MinHash | None:
    """Returns how documents are compared; None where near duplicates are kept."""
    if not config.near_duplicates:
        return None
    return MinHash.of(
        config.near_duplicates,
        config.near_duplicate_permutations,
        config.near_duplicate_bands,
        config.near_duplicate_ngram,
        config.near_duplicate_unit,
    )


class Examiner:
    """Cleans, removes, filters and measures documents.

    The order is: cleaning, removal, filters, decontamination. Each sees what the one before it
    left; but removal sees letters and white space as they were, by which a key differs from a word.

    Args:
        config: the options.
        clean: the cleaning.
        decontamination: n-grams of the evaluation texts; None for none.

    Raises:
        ConfigError: an option has a value that a filter or a removal does not know, or a library is
            missing.
    """

    def __init__(
        self, config: PrepareConfig, clean: Cleaner, decontamination: Decontamination | None
    ):
        self._config, self._decontamination = config, decontamination
        self._clean = dataclasses.replace(clean, lowercase=False, collapse_whitespace=False)
        self._clean_removed = Cleaner(
            lowercase=clean.lowercase, collapse_whitespace=clean.collapse_whitespace
        )
        self.filters: list[Filter] = filters_of(config)
        self.removals: list[Removal] = removals_of(config)
        self._minhash = minhash_of(config)

    def __call__(self, texts: Sequence[str]) -> list[Examined]:
        """Examines documents, each by itself.

        Raises:
            DataError: a filter or a removal failed; names it.
        """
        return [self._examine(text) for text in texts]

    def _examine(self, text: str) -> Examined:
        counts: Counter[str] = Counter()
        text = self._clean(text)
        dropped = None if text else (CLEANED_AWAY, "")
        if text:
            text, dropped = self._judge(text, counts)
        digest = document_digest(text.encode("utf-8"), self._config.seed)
        signature, language = b"", ""
        if not dropped:
            signature = self._minhash.signature(text) if self._minhash else b""
            language = language_of(text) if self._config.report else ""
        return Examined(text, digest, dropped, dict(counts), signature, language)

    def _judge(self, text: str, counts: Counter[str]) -> tuple[str, tuple[str, str] | None]:
        name = ""
        try:
            for removal in self.removals:
                name = f"removal {removal.name}"
                text, placeholders = removal(text)
                counts[f"removed/{removal.name}"] += placeholders
            text = self._clean_removed(text)
            if not text:
                return text, (CLEANED_AWAY, "")
            for rule in self.filters:
                name = f"filter {rule.name}"
                judged = rule(text)
                if isinstance(judged, Dropped):
                    return text, (rule.name, judged.reason)
                if not judged:
                    return text, (rule.name, "nothing_left")
                counts[f"edited/{rule.name}"] += judged != text
                text = judged
        except TfscaleError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {reason(error)}"
            start = " ".join(text[:40].split())
            raise DataError(
                f"the {name} failed on the document that begins {start!r} ({what})"
            ) from error
        found = self._decontamination.match(text) if self._decontamination else None
        return text, (DECONTAMINATE, found) if found else None


@dataclass(frozen=True)
class Examination:
    """The job of a process that examines documents; see `tfscale.data.workers.Job`."""

    config: PrepareConfig
    clean: Cleaner
    decontamination: Decontamination | None
    modules: tuple[str, ...]
    verb: str = "examines documents"

    def start(self) -> Examiner:
        """Returns the examiner."""
        return Examiner(self.config, self.clean, self.decontamination)


def modules_of(examiner: Examiner) -> tuple[str, ...] | None:
    """Returns the modules that register its filters and removals; None where another process cannot
    import one."""
    modules = [module_of(type(part)) for part in (*examiner.filters, *examiner.removals)]
    known = tuple(dict.fromkeys(module for module in modules if module))
    return None if None in modules else known
