"""Files to documents that are cleaned and filtered, each by itself."""

import dataclasses
import itertools
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from tfscale.data.beam.documents import ChunkWriter, Key
from tfscale.data.beam.folder import WorkFolder
from tfscale.data.beam.job import FileRun, Job, load_runs
from tfscale.data.beam.step import Step
from tfscale.data.quality.examining import DUPLICATES, Examined
from tfscale.data.sources import reading_of
from tfscale.data.splits import SPLITS
from tfscale.errors import TfscaleError
from tfscale.terminal import kept_lines
from tfscale.text.corpora import read_documents
from tfscale.text.reader import ReadCounts

DIGESTS, SIGNATURES = "digests", "signatures"
"""Tags of what `Examine` returns besides its chunks."""


class ListRuns(Step):
    """Yields the runs of files and their numbers."""

    rank = 0

    def work(self, element: Any) -> Iterator[tuple[int, bytes]]:
        """Takes any element."""
        yield from enumerate(load_runs(self.folder))


class Examine(Step):
    """Reads, cleans and filters the documents of a run of files, and writes them into chunks.

    Yields the key of each chunk and the path of its table. Tagged "digests": for each document that
    is not dropped the digest and the place, where `drop_duplicates` asks for it; tagged
    "signatures": the signature and the place. Of documents of a chunk that are the same the first
    one stands for all.
    """

    rank = 1

    def work(self, element: tuple[int, bytes]) -> Iterator[Any]:
        """Takes the number of a run and the run."""
        job = self.job  # Imports what the run may need.
        number, run = element[0], pickle.loads(element[1])
        if self.folder.failed_before(self.place(run.first)):
            return
        reading = _Reading(job, run)
        lines: list[str] = []
        try:
            for chunk_number in itertools.count():
                chunk = _OpenChunk(self.folder, job, run.part, (number, chunk_number))
                # Not around a `yield`: what is said elsewhere meanwhile is not of this step.
                with kept_lines() as said:
                    full = chunk.fill(reading)
                lines += said
                yield from chunk.outputs(ReadCounts() if full else reading.counts)
                if not full:
                    return
        except TfscaleError as error:
            self.fail(error, reading.file)
        finally:
            if lines:
                self.folder.say(self.place(run.first), lines)


class _Reading:
    """The documents of a run of files, one after the other.

    Attributes:
        counts: what was met while reading.
        file: number of the file that is read.
    """

    def __init__(self, job: Job, run: FileRun):
        self.counts, self.file = ReadCounts(), run.first
        self.examiner = job.examiner(job.parts[run.part])
        self._reading, self._run = reading_of(job.config, self.counts), run
        self._documents = self._examined()

    def __iter__(self) -> Iterator[Examined]:
        return self._documents

    def _examined(self) -> Iterator[Examined]:
        for number, file in enumerate(self._run.files, self._run.first):
            self.file = number
            for text in read_documents([file], self._reading):
                yield from self.examiner([text])


class _OpenChunk:
    """A chunk that is being written, and what of its documents is compared with others."""

    def __init__(self, folder: WorkFolder, job: Job, part: int, key: Key):
        config, self._key = job.config, key
        self._writer = ChunkWriter(folder, part, job.sampled, config.report)
        self._drop_duplicates = config.drop_duplicates
        self._split = bytes([SPLITS.index(job.parts[part].split)])
        self._first: dict[str, dict[bytes, int]] = {DIGESTS: {}, SIGNATURES: {}}

    def fill(self, documents: Iterable[Examined]) -> bool:
        """Takes documents until it is full; returns whether it is."""
        for document in documents:
            similar = False
            if self._drop_duplicates and not document.dropped:
                if not self._is_first(DIGESTS, self._split + document.digest):
                    document = document._replace(dropped=(DUPLICATES, ""))
            if document.signature and not document.dropped:
                similar = not self._is_first(SIGNATURES, document.signature)
            self._writer.add(document, similar)
            if self._writer.full:
                return True
        return False

    def _is_first(self, tag: str, content: bytes) -> bool:
        number = len(self._writer.rows)
        return self._first[tag].setdefault(content, number) == number

    def outputs(self, counts: ReadCounts) -> Iterator[Any]:
        """Writes the chunk and yields what `Examine` yields for it."""
        yield self._key, self._writer.close(dataclasses.replace(counts))
        for tag, first in self._first.items():
            for content, number in first.items():
                yield beam.pvalue.TaggedOutput(tag, (content, (*self._key, number)))
