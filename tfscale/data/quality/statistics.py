"""Statistics for the report of a corpus: lengths, languages, samples of dropped documents."""

import bisect
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Protocol

from tfscale.data.quality.examining import DECONTAMINATE, SAMPLE_CHARACTERS
from tfscale.text.filter import Filter

SAMPLES = 3
"""Samples of each reason."""
LENGTHS = [step * 10**power for power in range(8) for step in (1, 2, 5)]
"""Where the columns of the histogram begin, in characters."""
_WORDS = {
    "cleaned_away": "nothing was left after cleaning",
    "duplicates": "the same as an earlier document",
    "near_duplicates": "similar to an earlier document",
    "nothing_left": "the filter left nothing",
}


class Measured(Protocol):
    """A document as the report needs it; see `tfscale.data.quality.examining.Examined`."""

    @property
    def digest(self) -> bytes:
        """Of its text."""

    @property
    def characters(self) -> int:
        """Characters of its text."""

    @property
    def beginning(self) -> str:
        """The first characters, `SAMPLE_CHARACTERS` + 1 of them where it has as many."""

    @property
    def language(self) -> str:
        """Its language."""


class Statistics:
    """Counts of kept and dropped documents, and a few samples.

    The samples of a reason are those with the smallest digests: which they are does not depend on
    the order of the documents.

    Args:
        filters: the filters, whose reasons are known in words.

    Attributes:
        kept, dropped: documents by the column of the histogram.
        languages: kept documents by language.
        reasons: dropped documents by stage and reason.
    """

    def __init__(self, filters: Sequence[Filter]):
        self._filters = {rule.name: rule for rule in filters}
        self.kept: Counter[int] = Counter()
        self.dropped: Counter[int] = Counter()
        self.languages: Counter[str] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self._samples: dict[tuple[str, str], list[tuple[bytes, str]]] = defaultdict(list)

    def add(self, document: Measured, dropped: tuple[str, str] | None) -> None:
        """Takes note of a document, and of what dropped it and why; None for a kept one."""
        column = max(bisect.bisect_right(LENGTHS, document.characters) - 1, 0)
        if not dropped:
            self.kept[column] += 1
            self.languages[document.language] += 1
            return
        self.dropped[column] += 1
        self.reasons[dropped] += 1
        if text := document.beginning:
            cut = text if len(text) <= SAMPLE_CHARACTERS else f"{text[:SAMPLE_CHARACTERS]}…"
            self._take(dropped, document.digest, cut)

    def merge(self, other: "Statistics") -> None:
        """Adds the documents of other statistics."""
        for name in ("kept", "dropped", "languages", "reasons"):
            getattr(self, name).update(getattr(other, name))
        for why, samples in other._samples.items():
            for digest, cut in samples:
                self._take(why, digest, cut)

    def _take(self, why: tuple[str, str], digest: bytes, cut: str) -> None:
        samples = self._samples[why]
        if all(digest != taken for taken, _ in samples):
            samples.append((digest, cut))
            samples.sort()
            del samples[SAMPLES:]

    def samples(self, dropped: tuple[str, str]) -> list[str]:
        """Returns beginnings of documents that were dropped for a reason."""
        return [text for _, text in self._samples[dropped]]

    def words(self, dropped: tuple[str, str]) -> str:
        """Returns a reason in words."""
        stage, reason = dropped
        if stage == DECONTAMINATE:
            return f"shares an n-gram with {reason}"
        known = self._filters[stage].reasons if stage in self._filters else {}
        return known.get(reason) or _WORDS.get(reason or stage) or reason
