"""Counts of kept and dropped documents, for the manifest and the report."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from tfscale.data.quality.examining import CLEANED_AWAY, DUPLICATES, NEAR_DUPLICATES
from tfscale.data.quality.statistics import Measured, Statistics
from tfscale.text.filter import Filter


class Counted(Measured, Protocol):
    """A document as a tally needs it; see `tfscale.data.quality.examining.Examined`."""

    @property
    def counts(self) -> dict[str, int]:
        """The removals and filters that changed or dropped it."""


class Tally:
    """Counts of documents; use for those of a text in their order, or of a part of them.

    Args:
        filters: the filters, whose reasons are known in words.
        counted: names that are counted even where there is none, in their order.
        report: whether what the report shows is counted, too.

    Attributes:
        counts: for the manifest, by name, in the order in which they were first met.
        statistics: for the report.

    Example:
        tally = Tally([], ["near_duplicates"], report=False)
        tally.add(examined, ("c4", "sentences"))
        tally.counts    # {"near_duplicates": 0, "dropped/c4/sentences": 1}
    """

    def __init__(
        self, filters: Sequence[Filter] = (), counted: Iterable[str] = (), report: bool = False
    ):
        self.counts: Counter[str] = Counter(dict.fromkeys(counted, 0))
        self.statistics = Statistics(filters)
        self._report = report

    def add(self, document: Counted, dropped: tuple[str, str] | None) -> None:
        """Takes note of a document, and of what dropped it and why; None for a kept one."""
        if dropped:
            stage, reason = dropped
            self.counts[f"dropped/{stage}/{reason}" if reason else stage] += 1
        else:
            # Placeholders of documents that are dropped are not in the data.
            self.counts.update({name: count for name, count in document.counts.items() if count})
        if self._report:
            self.statistics.add(document, dropped)

    def merge(self, later: "Tally") -> None:
        """Adds the tally of the documents that follow."""
        self.counts.update(later.counts)
        self.statistics.merge(later.statistics)

    def summary(self) -> str:
        """Returns what dropped documents, in words: "gopher_quality/word_count 117, c4/sentences
        3"."""
        dropped = {
            name.removeprefix("dropped/"): count
            for name, count in self.counts.most_common()
            if count
            and (name.startswith("dropped/") or name in (CLEANED_AWAY, DUPLICATES, NEAR_DUPLICATES))
        }
        return ", ".join(f"{name} {count:,}" for name, count in dropped.items())
