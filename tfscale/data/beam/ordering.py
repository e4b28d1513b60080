"""One step that sees the tables of all chunks, in their order: borders, batches and the sample.

It reads no text, and one table at a time; what it writes is a list of batches, and of the parts of
the text on which a tokenizer is trained.
"""

import itertools
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfscale.data.beam.documents import Kept, Key, Pieces, PiecesWriter
from tfscale.data.beam.folder import WorkFolder
from tfscale.data.beam.job import Job
from tfscale.data.beam.reading import Examine
from tfscale.data.beam.step import Step
from tfscale.data.cutting import cut_texts
from tfscale.data.keeping import Dropped
from tfscale.data.quality.tally import Tally
from tfscale.data.sampling import Sample
from tfscale.data.splits import TRAIN, Borders, HoldOut, Owners, Part
from tfscale.data.spool import BATCH_BYTES, batch_ends
from tfscale.data.spooling import held_out_shares, hold_out_of, note_cut, nothing_left
from tfscale.terminal import kept_lines
from tfscale.text.reader import ReadCounts

_TASK_BATCHES = 64
"""Batches of a task at most ..."""
_LEAST_TASKS = 256
"""... where there are more tasks than this."""


class Span(NamedTuple):
    """Pieces of a chunk that follow one another.

    Attributes:
        path: of the table of the chunk.
        first, end: of them.
    """

    path: str
    first: int
    end: int


Batch = Sequence[Span]
"""Pieces that are tokenized together, those of a batch of a spool."""


class Taken(NamedTuple):
    """Parts of a piece that are in the sample.

    Attributes:
        path: of the table of the chunk.
        piece: number of the piece.
        parts: numbers of the parts.
    """

    path: str
    piece: int
    parts: list[int]


@dataclass(frozen=True)
class Plan:
    """The order of the documents and the part that each belongs to.

    Attributes:
        owners: tells which part a document belongs to.
        batches: their number.
        batches_path: file of the batches, a pickled list for each task.
        text_bytes: of all batches.
        sample_path: file of what the tokenizer is trained on, a pickled `Taken` each.
        whole: whether all of the training text is.
        read, dropped, pieces, tally: for `tfscale.data.spooling.all_counts`.
    """

    owners: Owners
    batches: int
    batches_path: str
    text_bytes: int
    sample_path: str
    whole: bool
    read: ReadCounts
    dropped: Dropped
    pieces: int
    tally: Tally


class Order(Step):
    """Orders the documents of all chunks; yields the path of the plan."""

    rank = 3

    def work(self, element: tuple[Any, Iterable[tuple[Key, str]]]) -> Iterator[str]:
        """Takes the keys of all chunks and the paths of their tables."""
        # A chunk that is there twice counts once.
        chunks = [path for _, path in sorted(dict(element[1]).items())]
        counted = _Counted(self.folder, self.job, chunks)
        if self.folder.failed_before(self.place()):
            return
        with kept_lines() as lines:
            chunks, owners, pieces = _in_parts(self.folder, self.job, chunks, counted.hold_out)
        if lines:
            self.folder.say(self.place(), lines)
        sample_path, whole = _sample(self.folder, self.job, chunks, owners)
        batches_path, batches = _batches(self.folder, chunks, counted.text_bytes)
        plan = Plan(
            owners,
            batches,
            batches_path,
            counted.text_bytes,
            sample_path,
            whole,
            counted.read,
            counted.dropped,
            pieces,
            counted.tally,
        )
        yield self.folder.save("plan", plan)


def _tables(chunks: Sequence[str]) -> Iterator[Kept]:
    for path in chunks:
        table: Kept = WorkFolder.load(path)
        yield table


class _Counted:
    """The totals of the tables of all chunks.

    Attributes:
        read, dropped, tally, text_bytes: see `Plan`.
        hold_out: knows the training documents.
    """

    def __init__(self, folder: WorkFolder, job: Job, chunks: Sequence[str]):
        self.read, self.dropped, self.tally = ReadCounts(), Dropped(), Tally()
        self.text_bytes = 0
        self.hold_out = hold_out_of(job.config, job.parts)
        for number, tables in itertools.groupby(_tables(chunks), lambda kept: kept.part):
            part, documents = job.parts[number], 0
            for kept in tables:
                documents += kept.documents
                self._add(kept, part)
            if not documents:
                summary = self.tally.summary() if job.chosen(part) else ""
                error = nothing_left(part, job.shown[number], summary)
                # The next part would not be read on one machine.
                folder.say((Examine.rank, job.ends[number] - 1, 1), error=error)
                return

    def _add(self, kept: Kept, part: Part) -> None:
        for total, counts in ((self.read, kept.read), (self.dropped, kept.dropped)):
            for name, count in vars(counts).items():
                setattr(total, name, getattr(total, name) + count)
        if kept.tally:
            self.tally.merge(kept.tally)
        if part.split == TRAIN:
            self.hold_out.add_all(kept.pieces.places[kept.pieces.first])
        self.text_bytes += int(kept.pieces.sizes.sum())


def _in_parts(
    folder: WorkFolder, job: Job, chunks: Sequence[str], hold_out: HoldOut
) -> tuple[list[str], Owners, int]:
    """Returns the chunks, what tells their parts, and how many documents more there are.

    A text of too few documents for its splits is cut, as `tfscale.data.cutting.cut_spool` does.
    """
    labels = list(job.parts)
    if hold_out.too_few and not job.config.source:
        shares = held_out_shares(job.config, job.parts)
        texts = [
            text
            for kept in _tables(chunks)
            if labels[kept.part].split == TRAIN
            for text in _documents(kept.pieces)
        ]
        if cut := cut_texts(texts, list(shares.values())):
            if job.progress:
                note_cut(shares)
            others = [
                path
                for path, kept in zip(chunks, _tables(chunks), strict=True)
                if labels[kept.part].split != TRAIN
            ]
            written = []
            for split, parts in zip([TRAIN, *shares], cut, strict=True):
                writer = PiecesWriter(folder, job.sampled)
                for text in parts:
                    writer.add(text, 0)
                written.append(folder.save("kept", Kept(len(labels), len(parts), writer.close())))
                labels.append(Part(split))
            more = sum(map(len, cut)) - len(texts)
            return [*written, *others], Owners(labels, Borders(0, 0)), more
    return [*chunks], Owners(labels, hold_out.borders()), 0


def _documents(pieces: Pieces) -> Iterator[str]:
    """Yields the texts of documents."""
    parts: list[str] = []
    for text, last in zip(pieces.texts(0, len(pieces.sizes)), pieces.last, strict=True):
        parts.append(text)
        if last:
            yield "".join(parts)
            parts = []


def _sample(
    folder: WorkFolder, job: Job, chunks: Sequence[str], owners: Owners
) -> tuple[str, bool]:
    """Writes what a tokenizer is trained on; returns its file, and whether it is all."""
    path = folder.new("sample")
    if not job.sampled:
        open(path, "wb").close()
        return path, True
    total = sum(
        int(kept.pieces.characters[_training(kept, owners)].sum()) for kept in _tables(chunks)
    )
    sample = Sample(job.config.tokenizer_sample, total)
    with open(path, "wb") as file:
        for chunk, kept in zip(chunks, _tables(chunks), strict=True):
            lengths = kept.pieces.part_characters.tolist()
            ends = np.cumsum(kept.pieces.part_counts).tolist()
            counts = kept.pieces.part_counts.tolist()
            for piece in np.flatnonzero(_training(kept, owners)).tolist():
                first = ends[piece] - counts[piece]
                parts = [
                    number
                    for number, length in enumerate(lengths[first : ends[piece]])
                    if sample.takes(length)
                ]
                if parts:
                    pickle.dump(Taken(chunk, piece, parts), file)
    return path, sample.whole


def _training(kept: Kept, owners: Owners) -> np.ndarray:
    """Returns which pieces of a chunk are of the training split, (N,) bool."""
    places = kept.pieces.places
    parts, owner = owners.of(np.full(len(places), kept.part), places)
    return np.array([part.split == TRAIN for part in parts], bool)[owner]


def _batches(folder: WorkFolder, chunks: Sequence[str], text_bytes: int) -> tuple[str, int]:
    """Writes the batches, those that a spool of the same documents has; returns the file and their
    number."""
    most = min(max(text_bytes // BATCH_BYTES // _LEAST_TASKS, 1), _TASK_BATCHES)
    path, count = folder.new("batches"), 0
    with open(path, "wb") as file:
        batches: list[Batch] = []
        for batch in _cut_batches(chunks):
            batches.append(batch)
            count += 1
            if len(batches) == most:
                pickle.dump(batches, file)
                batches = []
        if batches:
            pickle.dump(batches, file)
    return path, count


def _cut_batches(chunks: Sequence[str]) -> Iterator[Batch]:
    spans: list[Span] = []
    carried = 0
    for path, kept in zip(chunks, _tables(chunks), strict=True):
        ends, carried = batch_ends(kept.pieces.sizes, carried)
        first = 0
        for end in ends:
            yield [*spans, Span(path, first, end)]
            spans, first = [], end
        if first < len(kept.pieces.sizes):
            spans.append(Span(path, first, len(kept.pieces.sizes)))
    if spans:
        yield spans
