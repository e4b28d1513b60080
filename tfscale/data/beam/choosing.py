"""Which documents of a chunk are kept, when it is known which are duplicates."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tfscale.data.beam.documents import Chunk, Kept, Key, Row, beginnings
from tfscale.data.beam.step import Step
from tfscale.data.keeping import Dropped
from tfscale.data.quality.examining import CLEANED_AWAY, DUPLICATES, NEAR_DUPLICATES
from tfscale.data.quality.tally import Tally


class Choose(Step):
    """Writes the table of the documents of a chunk that are kept.

    Yields the key of the chunk and the path of the table.
    """

    rank = 2

    def work(self, element: tuple[Key, Mapping[str, Iterable[Any]]]) -> Iterator[tuple[Key, str]]:
        """Takes the key of a chunk, the path of its table, and its documents that are dropped."""
        key, found = element
        [path] = found["chunks"]
        chunk: Chunk = self.folder.load(path)
        reasons = _reasons(chunk, found.get("dropped", ()))
        keep = np.array([why is None for why in reasons], bool)
        counts = np.array([row.pieces for row in chunk.rows], np.int64)
        pieces = chunk.pieces.kept(np.repeat(keep, counts))
        part = self.job.parts[chunk.part]
        tally, dropped = None, Dropped()
        if self.job.chosen(part):
            tally = _tally(chunk, reasons, self.job.config.report)
        else:
            dropped.cleaned_away = reasons.count((CLEANED_AWAY, ""))
            dropped.duplicates = reasons.count((DUPLICATES, ""))
        kept = Kept(chunk.part, int(keep.sum()), pieces, chunk.read, dropped, tally)
        yield key, self.folder.save("kept", kept)


def _reasons(chunk: Chunk, found: Iterable[tuple[int, str]]) -> list[tuple[str, str] | None]:
    """Returns for each document why it is dropped; one that is the same as an earlier document is
    not counted as a similar one, too."""
    reasons = [row.dropped for row in chunk.rows]
    duplicates, similar = set[int](), {n for n, row in enumerate(chunk.rows) if row.similar}
    for number, why in found:
        (duplicates if why == DUPLICATES else similar).add(number)
    for number in similar - duplicates:
        reasons[number] = NEAR_DUPLICATES, ""
    for number in duplicates:
        reasons[number] = DUPLICATES, ""
    return reasons


def _tally(chunk: Chunk, reasons: list[tuple[str, str] | None], report: bool) -> Tally:
    tally = Tally(report=report)
    late = [
        number
        for number, (row, why) in enumerate(zip(chunk.rows, reasons, strict=True))
        if why and row.pieces
    ]
    shown = beginnings(chunk, late if report else [])
    for number, (row, why) in enumerate(zip(chunk.rows, reasons, strict=True)):
        document: Row = row._replace(beginning=shown[number]) if number in shown else row
        tally.add(document, why)
    return tally
