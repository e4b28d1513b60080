"""Some thousands of documents on disk, first as they were read, then those that are kept.

The text of a chunk is a file by itself. What is known of its documents is a table beside it, so
that a step which needs numbers alone reads no text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tfscale.data.beam.folder import WorkFolder
from tfscale.data.keeping import Dropped
from tfscale.data.quality.examining import SAMPLE_CHARACTERS, Examined
from tfscale.data.quality.tally import Tally
from tfscale.data.sampling import parts_of
from tfscale.data.splits import split_hash
from tfscale.text.reader import ReadCounts
from tfscale.text.tokenizers.cutting import LONG_TEXT, split_long

CHUNK_BYTES, CHUNK_DOCUMENTS = 16 << 20, 1 << 15
"""Bytes of text and documents after which a chunk is full."""

Key = tuple[int, int]
"""A chunk: the number of its first file's run, and its own number within the run."""
Place = tuple[int, int, int]
"""A document: its chunk, and its number within the chunk."""


class Row(NamedTuple):
    """A document of a chunk.

    Attributes:
        digest, dropped, counts, language: see `Examined`.
        characters: of its text.
        beginning: of its text, where it is dropped and the report may show it.
        similar: whether an earlier document of its run has the same signature.
        pieces: pieces of its text that were written; 0 of a dropped one.
    """

    digest: bytes
    dropped: tuple[str, str] | None
    counts: dict[str, int]
    language: str
    characters: int
    beginning: str
    similar: bool
    pieces: int


@dataclass(frozen=True)
class Pieces:
    """A table of the pieces of documents, in order.

    Attributes:
        path: of the file with their text.
        places: (N,) uint64, the `split_hash` of their document.
        starts, sizes: (N,) int64, where in the file their text is, in bytes.
        characters: (N,) int64, of their text.
        first, last: (N,) bool, whether their document begins and ends with them.
        part_counts: (N,) int64, of how many parts of the tokenizer's sample they consist.
        part_characters: characters of these parts.
    """

    path: str
    places: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    characters: np.ndarray
    first: np.ndarray
    last: np.ndarray
    part_counts: np.ndarray
    part_characters: np.ndarray

    def kept(self, keep: np.ndarray) -> "Pieces":
        """Returns those of the pieces for which (N,) bool is true."""
        parts = np.repeat(keep, self.part_counts)
        columns = {
            name: column[parts if name == "part_characters" else keep]
            for name, column in vars(self).items()
            if name != "path"
        }
        return Pieces(self.path, **columns)

    def texts(self, first: int, end: int) -> Iterator[str]:
        """Yields the texts of some pieces."""
        with open(self.path, "rb") as file:
            for start, size in zip(self.starts[first:end], self.sizes[first:end], strict=True):
                file.seek(start)
                yield file.read(size).decode("utf-8")


@dataclass(frozen=True)
class Chunk:
    """Documents as they were read.

    Attributes:
        part: index of their part.
        rows: all of them.
        pieces: the text of those that are not dropped.
        read: what was met while reading, where the chunk is the last one of its run.
    """

    part: int
    rows: list[Row]
    pieces: Pieces
    read: ReadCounts


@dataclass(frozen=True)
class Kept:
    """Documents that are kept.

    Attributes:
        part: index of their part.
        documents: their number.
        pieces: their text.
        read: see `Chunk`.
        dropped: what was dropped, where no quality option is set.
        tally: what became of all documents of the chunk, where one is.
    """

    part: int
    documents: int
    pieces: Pieces
    read: ReadCounts = field(default_factory=ReadCounts)
    dropped: Dropped = field(default_factory=Dropped)
    tally: Tally | None = None


class PiecesWriter:
    """Writes the text of documents.

    Args:
        folder: where.
        sampled: whether a tokenizer is trained on a sample of the text.
    """

    def __init__(self, folder: WorkFolder, sampled: bool):
        self._path, self._sampled = folder.new("text"), sampled
        self._file = open(self._path, "wb")  # noqa: SIM115 - closed by `close`
        self._rows: list[tuple[int, int, int, bool, bool, int]] = []
        self._part_characters: list[int] = []
        self.size = 0

    def add(self, text: str, place: int) -> int:
        """Appends a document with its `split_hash`; returns of how many pieces it consists."""
        texts = [text] if len(text) <= LONG_TEXT else list(split_long(text))
        for number, piece in enumerate(texts):
            content = piece.encode("utf-8")
            parts = [len(part) for part in parts_of(piece, False)] if self._sampled else []
            first, last = number == 0, number == len(texts) - 1
            self._rows.append((place, len(content), len(piece), first, last, len(parts)))
            self._part_characters += parts
            self._file.write(content)
            self.size += len(content)
        return len(texts)

    def abandon(self) -> None:
        """Closes the file; it is not used."""
        self._file.close()

    def close(self) -> Pieces:
        """Returns what was written."""
        self._file.close()
        columns = list(zip(*self._rows, strict=True)) or [()] * 6
        sizes = np.array(columns[1], np.int64)
        return Pieces(
            self._path,
            places=np.array(columns[0], np.uint64),
            starts=np.cumsum(sizes) - sizes,
            sizes=sizes,
            characters=np.array(columns[2], np.int64),
            first=np.array(columns[3], bool),
            last=np.array(columns[4], bool),
            part_counts=np.array(columns[5], np.int64),
            part_characters=np.array(self._part_characters, np.int64),
        )


class ChunkWriter:
    """Writes documents as they were read.

    Args:
        folder: where.
        part: index of their part.
        sampled: see `PiecesWriter`.
        report: whether the report may show documents that are dropped.
    """

    def __init__(self, folder: WorkFolder, part: int, sampled: bool, report: bool):
        self._folder, self._part, self._report = folder, part, report
        self._writer = PiecesWriter(folder, sampled)
        self.rows: list[Row] = []

    @property
    def full(self) -> bool:
        """Whether the next document should go into another chunk."""
        return self._writer.size >= CHUNK_BYTES or len(self.rows) >= CHUNK_DOCUMENTS

    def add(self, document: Examined, similar: bool) -> None:
        """Appends a document; `similar` as in `Row`."""
        pieces, beginning = 0, ""
        if not document.dropped:
            pieces = self._writer.add(document.text, split_hash(document.digest))
        elif self._report:
            beginning = document.beginning
        self.rows.append(
            Row(
                document.digest,
                document.dropped,
                document.counts,
                document.language,
                document.characters,
                beginning,
                similar,
                pieces,
            )
        )

    def abandon(self) -> None:
        """Closes the file; it is not used."""
        self._writer.abandon()

    def close(self, read: ReadCounts) -> str:
        """Writes the table; returns its path."""
        return self._folder.save("chunk", Chunk(self._part, self.rows, self._writer.close(), read))


def beginnings(chunk: Chunk, numbers: Sequence[int]) -> dict[int, str]:
    """Returns the beginnings of some documents of a chunk, as `Examined.beginning` has them."""
    ends = np.cumsum([row.pieces for row in chunk.rows])
    found: dict[int, str] = {}
    for number in numbers:
        text = ""
        for piece in chunk.pieces.texts(ends[number] - chunk.rows[number].pieces, ends[number]):
            text += piece
            if len(text) > SAMPLE_CHARACTERS:
                break
        found[number] = text[: SAMPLE_CHARACTERS + 1]
    return found
