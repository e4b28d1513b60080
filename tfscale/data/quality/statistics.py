"""What the report of a corpus shows: lengths, languages, and samples of what was dropped."""

import bisect
from collections import Counter, defaultdict
from collections.abc import Sequence

from tfscale.data.quality.examining import DECONTAMINATE, Examined
from tfscale.text.filter import Filter

SAMPLES = 3
"""Samples of each reason."""
_SAMPLE_CHARACTERS = 600
LENGTHS = [step * 10**power for power in range(8) for step in (1, 2, 5)]
"""Where the columns of the histogram begin, in characters."""
_WORDS = {
    "cleaned_away": "nothing was left after cleaning",
    "duplicates": "the same as an earlier document",
    "near_duplicates": "similar to an earlier document",
    "nothing_left": "the filter left nothing",
}


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

    def add(self, document: Examined, dropped: tuple[str, str] | None) -> None:
        """Takes note of a document, and of what dropped it and why; None for a kept one."""
        column = max(bisect.bisect_right(LENGTHS, len(document.text)) - 1, 0)
        if not dropped:
            self.kept[column] += 1
            self.languages[document.language] += 1
            return
        self.dropped[column] += 1
        self.reasons[dropped] += 1
        text, samples = document.text, self._samples[dropped]
        if text and all(digest != document.digest for digest, _ in samples):
            cut = text if len(text) <= _SAMPLE_CHARACTERS else f"{text[:_SAMPLE_CHARACTERS]}…"
            samples.append((document.digest, cut))
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
