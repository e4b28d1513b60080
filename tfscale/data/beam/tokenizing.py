"""The tokenizer, and the tokens of each batch of documents."""

import contextlib
import dataclasses
import functools
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfscale.data import spool
from tfscale.data.beam.documents import Kept
from tfscale.data.beam.folder import WorkFolder
from tfscale.data.beam.ordering import Batch, Plan, Taken
from tfscale.data.beam.step import Step
from tfscale.data.sampling import parts_of
from tfscale.data.splits import Owners, Part
from tfscale.data.tokenizing import BatchEncoder, Encoded
from tfscale.data.training_tokenizer import train_on
from tfscale.terminal import kept_lines
from tfscale.text.tokenizers import Tokenizer, load_tokenizer


class Train(Step):
    """Trains the tokenizer, unless one was given.

    Yields the path of the plan and the folder of the tokenizer.
    """

    rank = 4

    def work(self, plan_path: str) -> Iterator[tuple[str, str]]:
        """Takes the path of the plan."""
        job = self.job
        if job.tokenizer_dir is not None:
            yield plan_path, job.tokenizer_dir
            return
        plan: Plan = self.folder.load(plan_path)
        with kept_lines() as lines:
            tokenizer = train_on(job.config, _sample(plan), job.cleaner, job.progress)
        if lines:
            self.folder.say(self.place(), lines)
        path = self.folder.new("tokenizer")
        tokenizer.save(path)
        yield plan_path, path


def _sample(plan: Plan) -> Iterator[str]:
    """Yields the texts of a sample, in their order."""
    table: tuple[str, Kept | None] = "", None
    for taken in pickled(plan.sample_path):
        assert isinstance(taken, Taken)
        if taken.path != table[0]:
            table = taken.path, WorkFolder.load(taken.path)
        assert table[1] is not None
        [text] = table[1].pieces.texts(taken.piece, taken.piece + 1)
        parts = list(parts_of(text, plan.whole))
        # Where all is taken there are fewer cuts.
        yield from parts if plan.whole else (parts[number] for number in taken.parts)


def pickled(path: str) -> Iterator[Any]:
    """Yields the values that were pickled into a file, one after the other."""
    with open(path, "rb") as file, contextlib.suppress(EOFError):
        while True:
            yield pickle.load(file)


class EncodeTask(NamedTuple):
    """Batches that one worker tokenizes.

    Attributes:
        plan_path, tokenizer_dir: what `Train` yields.
        first: number of the first batch.
        batches: the batches.
    """

    plan_path: str
    tokenizer_dir: str
    first: int
    batches: Sequence[Batch]


class ListBatches(Step):
    """Yields an `EncodeTask` for some batches at a time."""

    rank = 5

    def work(self, element: tuple[str, str]) -> Iterator[EncodeTask]:
        """Takes what `Train` yields."""
        first = 0
        plan: Plan = self.folder.load(element[0])
        for batches in pickled(plan.batches_path):
            yield EncodeTask(*element, first, batches)
            first += len(batches)


@dataclass(frozen=True)
class Tokens:
    """Tokens of a part in a batch, in a file with those of others.

    Attributes:
        path: of the file.
        start: where in it they begin, in bytes.
        encoded: their counts, without content.
    """

    path: str
    start: int
    encoded: Encoded


class Encode(Step):
    """Tokenizes batches.

    Yields what `Train` yields, with the number of each batch and its tokens of each part.
    """

    rank = 6

    def work(
        self, task: EncodeTask
    ) -> Iterator[tuple[tuple[str, str], tuple[int, dict[Part, Tokens]]]]:
        """Takes a task of `ListBatches`."""
        tokenizer, owners = _loaded(self.folder, task.plan_path, task.tokenizer_dir)
        encoder = BatchEncoder(tokenizer, _Batches(owners))
        path = self.folder.new("tokens")
        results: list[tuple[int, dict[Part, Tokens]]] = []
        with open(path, "wb") as file:
            for number, batch in enumerate(task.batches, task.first):
                found = {}
                for part, encoded in encoder(batch).items():
                    start = file.tell()
                    file.write(encoded.content)
                    counts = dataclasses.replace(encoded, content=b"")
                    found[part] = Tokens(path, start, counts)
                results.append((number, found))
        key = task.plan_path, task.tokenizer_dir
        yield from ((key, result) for result in results)


@functools.lru_cache(maxsize=1)
def _loaded(folder: WorkFolder, plan_path: str, tokenizer_dir: str) -> tuple[Tokenizer, Owners]:
    plan: Plan = folder.load(plan_path)
    return load_tokenizer(tokenizer_dir), plan.owners


class _Batches:
    """Reads batches of pieces from chunks, as a `Spool` reads them from its file."""

    def __init__(self, owners: Owners):
        self._owners = owners
        self._table = functools.lru_cache(maxsize=2)(WorkFolder.load)

    def read(self, batch: Batch) -> spool.Pieces:
        """Returns the pieces of a batch."""
        texts: list[str] = []
        labels, places, first, last = [], [], [], []
        for span in batch:
            kept: Kept = self._table(span.path)
            own = slice(span.first, span.end)
            texts += kept.pieces.texts(span.first, span.end)
            places.append(kept.pieces.places[own])
            labels.append(np.full(len(places[-1]), kept.part))
            first.append(kept.pieces.first[own])
            last.append(kept.pieces.last[own])
        parts, owner = self._owners.of(np.concatenate(labels), np.concatenate(places))
        return spool.Pieces(texts, parts, owner, np.concatenate(first), np.concatenate(last))
