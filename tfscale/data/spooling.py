"""The documents of a text to a spool: which are kept, and which split they belong to."""

import collections
import dataclasses
from collections.abc import Iterable

from tfscale.config import PrepareConfig
from tfscale.data.cutting import cut_spool
from tfscale.data.keeping import Dropped, kept_texts
from tfscale.data.quality.selection import Selection
from tfscale.data.sources import reading_of
from tfscale.data.splits import TEST, TRAIN, VALIDATION, Borders, HoldOut, Part
from tfscale.data.spool import Spool, SpoolWriter
from tfscale.errors import DataError
from tfscale.terminal import note
from tfscale.text.cleaning import Cleaner
from tfscale.text.corpora import read_documents
from tfscale.text.given import given_texts
from tfscale.text.reader import ReadCounts, TextFile
from tfscale.ui.progress import TextProgress


def spool_documents(
    config: PrepareConfig,
    sources: dict[Part, list[TextFile]],
    given: Iterable[object] | None,
    clean: Cleaner,
    selection: Selection | None,
    spool_path: str,
    progress: bool,
) -> tuple[Spool, dict[str, int]]:
    """Spools the documents that are kept; returns them and the counts for the manifest.

    Quality options choose among the training text alone: texts that are named for validation and
    test are what is measured.
    """
    counts, dropped = ReadCounts(), Dropped()
    seen: dict[str, set[bytes]] = collections.defaultdict(set)
    hold_out = HoldOut(
        validation_fraction=0 if Part(VALIDATION) in sources else config.validation_fraction,
        test_fraction=0 if Part(TEST) in sources else config.test_fraction,
    )
    total = sum(file.size for files in sources.values() for file in files)
    with (
        SpoolWriter(spool_path) as writer,
        TextProgress("reading", total, enabled=progress) as meter,
    ):
        for (split, source), files in sources.items():
            if split == TRAIN and given is not None:
                texts = given_texts(given, reading_of(config, counts))
            else:
                texts = read_documents(
                    files, reading_of(config, counts), lambda file: meter.add(size=file.size)
                )
            documents = 0
            counted = meter.counted(texts)
            chosen = selection if split == TRAIN else None
            kept = (
                chosen.kept(counted)
                if chosen
                else kept_texts(counted, clean, config, dropped, seen[split])
            )
            for text, place in kept:
                documents += 1
                if split == TRAIN:
                    hold_out.add(place)
                writer.add(text, place, split, source)
            if not documents:
                if chosen and (summary := chosen.summary()):
                    raise DataError(f"no document of the {split} text is left: {summary}")
                what = f"{split} text" if source is None else f"text of the source {source}"
                raise DataError(f"the {what} is empty: {_names(files) or 'texts'}")
    uncut = writer.spool(Borders(0, 0))
    if hold_out.too_few and not config.source and (cut := _cut(config, sources, uncut, progress)):
        spool, pieces = cut
    else:
        spool, pieces = dataclasses.replace(uncut, borders=hold_out.borders()), 0
    found = dataclasses.asdict(counts) | dataclasses.asdict(dropped) | {"cut_for_splits": pieces}
    for name, count in selection.counts.items() if selection else ():
        found[name] = found.get(name, 0) + count
    return spool, found


def _cut(
    config: PrepareConfig, sources: dict[Part, list[TextFile]], spool: Spool, progress: bool
) -> tuple[Spool, int] | None:
    """Cuts documents that are too few for the splits; None where the text is too short for that."""
    shares = {VALIDATION: config.validation_fraction, TEST: config.test_fraction}
    named = {part.split for part in sources}
    shares = {split: share for split, share in shares.items() if share and split not in named}
    cut = cut_spool(spool, shares)
    if cut and progress:
        parts = {TRAIN: 1 - sum(shares.values())} | shares
        described = ", ".join(f"{100 * share:.3g} % {split}" for split, share in parts.items())
        note(
            f"the text has too few documents for {len(parts)} splits and is cut, in its order:"
            f" {described}"
        )
    return cut


def _names(files: list[TextFile]) -> str:
    names = ", ".join(file.name for file in files[:3])
    return f"{names} and {len(files) - 3} more" if len(files) > 3 else names
