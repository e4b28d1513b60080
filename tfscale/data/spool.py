"""The cleaned documents on disk, between the passes over them.

One pass reads them, others sample and tokenize them: which split a document belongs to, and what
the tokenizer is trained on, is known only when all have been read. The spool keeps them as a list
of pieces; long documents are cut where no token can lie across the cut (`split_long`), so that no
piece, and no batch, is much larger than a megabyte.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from tfscale.data.splits import TRAIN, Borders
from tfscale.text.tokenizers.cutting import split_long

BATCH_BYTES = 1 << 20

_HEADER = struct.Struct("<BHQII??")
_BY_HASH = 0
_NAMES = {1: "validation", 2: "test"}


@dataclass(frozen=True)
class Batch:
    """A run of pieces: its start and end in the spool and the size of its text, all in bytes."""

    start: int
    end: int
    text_bytes: int


class Piece(NamedTuple):
    """A document or a part of one.

    Attributes:
        split: the split that it belongs to.
        content: UTF-8.
        characters: their number.
        last: whether the document ends here.
        first: whether it begins here.
        source: name of the source of its text; None where sources are not named.
    """

    split: str
    content: bytes
    characters: int
    last: bool
    first: bool
    source: str | None


class SpoolWriter:
    """Appends documents; `batches` says where each megabyte of them begins. Use as a context."""

    def __init__(self, path: str):
        self._file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        self._start = self._end = self._text_bytes = 0
        self.batches: list[Batch] = []
        self.sources: list[str | None] = []

    def __enter__(self) -> "SpoolWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self._close_batch(0)
        self._file.close()

    def add(self, text: str, place: int, split: str = TRAIN, source: str | None = None) -> None:
        """Appends a document.

        Args:
            text: the document.
            place: its `split_hash`.
            split: "train" for a document whose split the borders decide; else the split itself.
            source: name of the source of the text.
        """
        if source not in self.sources:
            self.sources.append(source)
        number = self.sources.index(source)
        code = next((code for code, name in _NAMES.items() if name == split), _BY_HASH)
        parts = list(split_long(text))
        for piece, part in enumerate(parts):
            content = part.encode("utf-8")
            last, first = piece == len(parts) - 1, piece == 0
            self._file.write(
                _HEADER.pack(code, number, place, len(content), len(part), last, first)
            )
            self._file.write(content)
            self._end += _HEADER.size + len(content)
            self._text_bytes += len(content)
            self._close_batch(BATCH_BYTES)

    def _close_batch(self, smallest: int) -> None:
        if self._end - self._start > smallest:
            self.batches.append(Batch(self._start, self._end, self._text_bytes))
            self._start, self._text_bytes = self._end, 0


@dataclass(frozen=True)
class Spool:
    """Documents that lie on disk, when the borders of the splits are known.

    Attributes:
        path: what a `SpoolWriter` wrote.
        batches: its batches.
        borders: borders of the splits, see `HoldOut`.
        sources: their sources, in the order of the writer.
    """

    path: str
    batches: list[Batch]
    borders: Borders
    sources: Sequence[str | None] = (None,)

    def all_pieces(self) -> Iterator[Piece]:
        """Returns the pieces of all batches, in order."""
        return (piece for batch in self.batches for piece in self.pieces(batch))

    def pieces(self, batch: Batch) -> Iterator[Piece]:
        """Returns the pieces of a batch, in order."""
        with open(self.path, "rb") as file:
            file.seek(batch.start)
            content = file.read(batch.end - batch.start)
        offset, end, header_size = 0, len(content), _HEADER.size
        unpack, split_of = _HEADER.unpack_from, self.borders.split_of
        while offset < end:
            code, number, place, size, characters, last, first = unpack(content, offset)
            start = offset + header_size
            offset = start + size
            yield Piece(
                _NAMES[code] if code else split_of(place),
                content[start:offset],
                characters,
                last,
                first,
                self.sources[number],
            )
