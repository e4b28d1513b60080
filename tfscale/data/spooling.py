"""The documents of a text to a spool: which are kept, and which split they belong to."""

import collections
import dataclasses
from collections.abc import Collection, Container, Sequence

from tfscale.config import PrepareConfig
from tfscale.data.cutting import cut_spool
from tfscale.data.engine import Task
from tfscale.data.keeping import Dropped, batches_of, kept_documents
from tfscale.data.quality.selection import Selection
from tfscale.data.sources import reading_of
from tfscale.data.splits import TEST, TRAIN, VALIDATION, Borders, HoldOut, Part
from tfscale.data.spool import Spool, SpoolWriter
from tfscale.errors import DataError
from tfscale.terminal import note
from tfscale.text.corpora import read_documents
from tfscale.text.given import given_texts
from tfscale.text.reader import ReadCounts, TextFile
from tfscale.ui.progress import TextProgress


def spool_documents(task: Task, spool_path: str) -> tuple[Spool, dict[str, int]]:
    """Spools the documents that are kept; returns them and the counts for the manifest.

    Quality options choose among the training text alone: texts that are named for validation and
    test are what is measured.
    """
    config, sources, selection, progress = task.config, task.sources, task.selection, task.progress
    counts, dropped = ReadCounts(), Dropped()
    seen: dict[str, set[bytes]] = collections.defaultdict(set)
    hold_out = hold_out_of(config, sources)
    total = sum(file.size for files in sources.values() for file in files)
    with (
        SpoolWriter(spool_path) as writer,
        TextProgress("reading", total, enabled=progress) as meter,
    ):
        for (split, source), files in sources.items():
            if split == TRAIN and task.texts is not None:
                texts = given_texts(task.texts, reading_of(config, counts))
            else:
                texts = read_documents(
                    files, reading_of(config, counts), lambda file: meter.add(size=file.size)
                )
            documents = 0
            batches = meter.counted(batches_of(texts))
            chosen = selection if split == TRAIN else None
            kept = (
                chosen.kept(batches)
                if chosen
                else kept_documents(batches, task.cleaner, config, dropped, seen[split])
            )
            for some in kept:
                documents += len(some.texts)
                if split == TRAIN:
                    hold_out.add_all(some.places)
                writer.add_all(some, split, source)
            if not documents:
                summary = chosen.tally.summary() if chosen else ""
                raise nothing_left(Part(split, source), shown_names(files), summary)
    uncut = writer.spool(Borders(0, 0))
    if hold_out.too_few and not config.source and (cut := _cut(task, uncut)):
        spool, pieces = cut
    else:
        spool, pieces = dataclasses.replace(uncut, borders=hold_out.borders()), 0
    return spool, all_counts(counts, dropped, pieces, selection)


def hold_out_of(config: PrepareConfig, parts: Container[Part]) -> HoldOut:
    """Returns what finds the borders of the splits.

    Args:
        config: the options.
        parts: those that have files; a held-out split among them takes no document of the training
            text.
    """
    return HoldOut(
        validation_fraction=0 if Part(VALIDATION) in parts else config.validation_fraction,
        test_fraction=0 if Part(TEST) in parts else config.test_fraction,
    )


def nothing_left(part: Part, shown: str, summary: str) -> DataError:
    """Returns the error of a part without documents.

    Args:
        part: the part.
        shown: its files, as `shown_names` gives them.
        summary: what dropped its documents, if quality options did.
    """
    what = f"{part.split} text" if part.source is None else f"text of the source {part.source}"
    if summary:
        return DataError(f"no document of the {what} is left: {summary}")
    return DataError(f"the {what} is empty: {shown}")


def all_counts(
    read: ReadCounts, dropped: Dropped, pieces: int, selection: Selection | None
) -> dict[str, int]:
    """Returns the counts for the manifest.

    Args:
        read: what was met while reading.
        dropped: documents that are not kept, where no quality option is set.
        pieces: how many documents more there are since the text was cut for its splits.
        selection: for its counts.
    """
    found = dataclasses.asdict(read) | dataclasses.asdict(dropped) | {"cut_for_splits": pieces}
    for name, count in selection.counts.items() if selection else ():
        found[name] = found.get(name, 0) + count
    return found


def held_out_shares(config: PrepareConfig, parts: Collection[Part]) -> dict[str, float]:
    """Returns the shares of the splits that a text of too few documents is cut into."""
    shares = {VALIDATION: config.validation_fraction, TEST: config.test_fraction}
    named = {part.split for part in parts}
    return {split: share for split, share in shares.items() if share and split not in named}


def note_cut(shares: dict[str, float]) -> None:
    """Says that a text was cut; see `held_out_shares`."""
    parts = {TRAIN: 1 - sum(shares.values())} | shares
    described = ", ".join(f"{100 * share:.3g} % {split}" for split, share in parts.items())
    note(
        f"the text has too few documents for {len(parts)} splits and is cut, in its order:"
        f" {described}"
    )


def _cut(task: Task, spool: Spool) -> tuple[Spool, int] | None:
    """Cuts documents that are too few for the splits; None where the text is too short for that."""
    shares = held_out_shares(task.config, task.sources)
    cut = cut_spool(spool, shares)
    if cut and task.progress:
        note_cut(shares)
    return cut


def shown_names(files: Sequence[TextFile]) -> str:
    """Returns the names of files in words, those of the first three at most."""
    names = ", ".join(file.name for file in files[:3]) or "texts"
    return f"{names} and {len(files) - 3} more" if len(files) > 3 else names
