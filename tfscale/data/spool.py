"""The cleaned documents on disk, between the passes over them.

One pass reads them, others sample and tokenize them: which split a document belongs to, and what
the tokenizer is trained on, is known only when all have been read. The spool keeps them as a list
of pieces; long documents are cut where no token can lie across the cut (`split_long`), so that no
piece, and no batch, is much larger than a megabyte.

A batch of N pieces is a table of N rows and the text of all of them. Documents may be lines of a
few words, so what is known of a piece is a column of an array and costs no work of Python's.
"""

import itertools
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

import numpy as np

from tfscale.data.splits import TRAIN, Borders, Owners, Part
from tfscale.text.tokenizers.cutting import LONG_TEXT, split_long

BATCH_BYTES = 1 << 20

_ROW = np.dtype(
    [("label", "<u2"), ("place", "<u8"), ("characters", "<u4"), ("first", "?"), ("last", "?")]
)


def lengths(items: Sequence[Sized]) -> np.ndarray:
    """Returns how long each of N items is, (N,) int64."""
    return np.fromiter(map(len, items), np.int64, len(items))


def batch_ends(sizes: np.ndarray, carried: int) -> tuple[list[int], int]:
    """Returns where batches end among pieces, for whoever does not write a spool.

    Args:
        sizes: (N,) int64, bytes of the text of each piece.
        carried: what the second result was for the pieces before; 0 at the beginning.

    Returns:
        Of each piece that ends a batch its index and 1; and what the last batch, which has not
        ended, weighs so far.
    """
    weights = np.cumsum(sizes + _ROW.itemsize)
    ends, before = [], -carried
    while (at := int(np.searchsorted(weights, before + BATCH_BYTES, "right"))) < len(weights):
        ends.append(at + 1)
        before = int(weights[at])
    return ends, int(weights[-1]) - before if len(weights) else carried


@dataclass(frozen=True)
class Batch:
    """A run of pieces in the spool.

    Attributes:
        start, end: its place in the spool, in bytes.
        pieces: their number.
        text_bytes: bytes of their text.
    """

    start: int
    end: int
    pieces: int
    text_bytes: int


class Piece(NamedTuple):
    """A document or a part of one.

    Attributes:
        text: of the piece.
        part: the split and the source that it belongs to.
        first: whether the document begins here.
        last: whether it ends here.
    """

    text: str
    part: Part
    first: bool
    last: bool


@dataclass(frozen=True)
class Pieces:
    """The N pieces of a batch, in order.

    Attributes:
        texts: their texts (N).
        parts: the splits and sources that they belong to.
        owner: index in `parts` of each piece's (N,).
        first, last: whether its document begins and ends with it, each (N,) bool.
    """

    texts: list[str]
    parts: list[Part]
    owner: np.ndarray
    first: np.ndarray
    last: np.ndarray


class Documents(NamedTuple):
    """Some documents, one after the other.

    Attributes:
        texts: their texts (N).
        contents: the same in UTF-8 (N).
        places: (N,) uint64, the `split_hash` of each.
    """

    texts: list[str]
    contents: list[bytes]
    places: np.ndarray

    @classmethod
    def of(cls, texts: list[str], place: int) -> "Documents":
        """Returns documents that have all the same `split_hash`."""
        contents = [text.encode("utf-8") for text in texts]
        return cls(texts, contents, np.full(len(texts), place, np.uint64))


class SpoolWriter:
    """Appends documents; `spool` returns them when the block is left. Use as a context."""

    def __init__(self, path: str):
        self._path = path
        self._file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        self._end = self._weight = 0
        self._rows: list[np.ndarray] = []
        self._contents: list[bytes] = []
        self._labels: dict[tuple[str, str | None], int] = {}
        self._batches: list[Batch] = []

    def __enter__(self) -> "SpoolWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None and self._contents:
            self._write_batch()
        self._file.close()

    def spool(self, borders: Borders) -> "Spool":
        """Returns what was written.

        Args:
            borders: of the splits of the documents that were added to "train".
        """
        labels = [Part(*label) for label in self._labels]
        return Spool(self._path, self._batches, borders, labels)

    def add(self, text: str, place: int, split: str = TRAIN, source: str | None = None) -> None:
        """Appends a document.

        Args:
            text: the document.
            place: its `split_hash`.
            split: "train" for a document whose split the borders decide; else the split itself.
            source: name of the source of the text.
        """
        self.add_all(Documents.of([text], place), split, source)

    def add_all(self, documents: Documents, split: str = TRAIN, source: str | None = None) -> None:
        """Appends documents; see `add`."""
        texts, contents, places = documents
        if not texts:
            return
        characters = lengths(texts)
        first = last = np.ones(len(texts), bool)
        if characters.max() > LONG_TEXT:
            cut = [list(split_long(text)) for text in texts]
            texts = list(itertools.chain.from_iterable(cut))
            contents, characters = [text.encode("utf-8") for text in texts], lengths(texts)
            pieces = lengths(cut)
            places = np.repeat(places, pieces)
            first, last = np.zeros((2, len(texts)), bool)
            last[np.cumsum(pieces) - 1] = True
            first[np.cumsum(pieces) - pieces] = True
        rows = np.empty(len(texts), _ROW)
        rows["label"] = self._labels.setdefault((split, source), len(self._labels))
        rows["place"], rows["characters"] = places, characters
        rows["first"], rows["last"] = first, last
        self._add_pieces(rows, contents)

    def _add_pieces(self, rows: np.ndarray, contents: list[bytes]) -> None:
        ends, self._weight = batch_ends(lengths(contents), self._weight)
        start = 0
        for end in ends:
            self._rows.append(rows[start:end])
            self._contents += contents[start:end]
            self._write_batch()
            start = end
        self._rows.append(rows[start:])
        self._contents += contents[start:]

    def _write_batch(self) -> None:
        rows, text = np.concatenate(self._rows), b"".join(self._contents)
        start, self._end = self._end, self._end + rows.nbytes + len(text)
        self._file.write(rows.tobytes())
        self._file.write(text)
        self._batches.append(Batch(start, self._end, len(rows), len(text)))
        self._rows, self._contents = [], []


@dataclass(frozen=True)
class Spool:
    """Documents that lie on disk, when the borders of the splits are known.

    Attributes:
        path: what a `SpoolWriter` wrote.
        batches: its batches.
        borders: borders of the splits, see `HoldOut`.
        labels: splits and sources by their numbers in the rows; the borders decide about "train".
    """

    path: str
    batches: list[Batch]
    borders: Borders
    labels: Sequence[Part]

    def all_pieces(self) -> Iterator[Piece]:
        """Returns the pieces of all batches, in order."""
        for batch in self.batches:
            pieces = self.read(batch)
            for text, owner, first, last in zip(
                pieces.texts, pieces.owner, pieces.first, pieces.last, strict=True
            ):
                yield Piece(text, pieces.parts[owner], bool(first), bool(last))

    def read(self, batch: Batch) -> Pieces:
        """Returns the pieces of a batch."""
        with open(self.path, "rb") as file:
            file.seek(batch.start)
            content = file.read(batch.end - batch.start)
        rows = np.frombuffer(content, _ROW, batch.pieces)
        text = content[rows.nbytes :].decode("utf-8")
        ends = np.cumsum(rows["characters"], dtype=np.int64).tolist()
        starts = [0, *ends[:-1]]
        texts = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        parts, owner = Owners(self.labels, self.borders).of(rows["label"], rows["place"])
        return Pieces(texts, parts, owner, rows["first"], rows["last"])
