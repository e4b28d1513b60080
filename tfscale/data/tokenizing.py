"""Tokenizes the spooled documents, in this process or in several.

The result does not depend on how many.

The processes read the spool themselves and load nothing but the tokenizer: what goes through the
pipes is a pair of offsets one way and two bytes a token the other way.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from tfscale.data.manifest import token_dtype
from tfscale.data.splits import Part
from tfscale.data.spool import Batch, Pieces, Spool
from tfscale.data.workers import in_order
from tfscale.registry import module_of
from tfscale.text.tokenizers import Tokenizer, load_tokenizer

BatchT = TypeVar("BatchT", contravariant=True)
_SMALL = 8 << 20
"""Bytes of text below which starting processes takes longer than the work."""


@dataclass
class Encoded:
    """Tokens of one part in one batch.

    Attributes:
        documents: documents that end in it.
        tokens: their number, end tokens included.
        utf8_bytes, unknown_tokens, lost_bits: of the text, see `tfscale.score.ScoredText`.
        content: little-endian tokens.
    """

    documents: int = 0
    tokens: int = 0
    utf8_bytes: int = 0
    unknown_tokens: int = 0
    lost_bits: float = 0.0
    content: bytes = field(default=b"", repr=False)

    def add(self, later: "Encoded") -> None:
        """Adds the counts of the batch that follows; its content is left out."""
        self.documents += later.documents
        self.tokens += later.tokens
        self.utf8_bytes += later.utf8_bytes
        self.unknown_tokens += later.unknown_tokens
        self.lost_bits += later.lost_bits


class Readable(Protocol[BatchT]):
    """Documents that lie on disk in batches, such as a `Spool`."""

    def read(self, batch: BatchT) -> Pieces:
        """Returns the pieces of a batch."""


class BatchEncoder(Generic[BatchT]):
    """Tokenizes batches of a spool.

    Args:
        tokenizer: the tokenizer.
        spool: where the documents are.
    """

    def __init__(self, tokenizer: Tokenizer, spool: Readable[BatchT]):
        self._tokenizer = tokenizer
        self._spool = spool
        self._dtype = np.dtype(token_dtype(tokenizer.vocabulary_size)).newbyteorder("<")

    def __call__(self, batch: BatchT) -> dict[Part, Encoded]:
        """Returns the tokens of each part that has documents in the batch."""
        pieces = self._spool.read(batch)
        ids, counts = self._encode(pieces)
        # The tokens of a piece, and an end token (N,) where its document ends with it.
        widths = counts + pieces.last
        is_end = np.zeros(widths.sum(), bool)
        is_end[np.cumsum(widths)[pieces.last] - 1] = True
        tokens = np.full(is_end.shape, self._tokenizer.end_id, self._dtype)
        tokens[~is_end] = ids
        owner = np.repeat(pieces.owner, widths)
        return {
            pieces.parts[part]: self._encoded(pieces, part, tokens[owner == part])
            for part in dict.fromkeys(pieces.owner.tolist())
        }

    def _encode(self, pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ids of pieces; see `Tokenizer.encode_joined`."""
        tokenizer, first = self._tokenizer, pieces.first.tolist()
        ids, counts = tokenizer.encode_joined(list(itertools.compress(pieces.texts, first)))
        if all(first):
            return ids, counts
        begun = iter(np.split(ids, np.cumsum(counts)[:-1]))
        parts = [
            next(begun) if begins else np.array(tokenizer.encode_continued(text), np.int32)
            for text, begins in zip(pieces.texts, first, strict=True)
        ]
        return np.concatenate(parts), np.array([len(part) for part in parts])

    def _encoded(self, pieces: Pieces, part: int, tokens: np.ndarray) -> Encoded:
        """Returns the tokens of a part, given those of a batch that belong to it."""
        own = pieces.owner == part
        texts = list(itertools.compress(pieces.texts, own.tolist()))
        documents = int(np.count_nonzero(own & pieces.last))
        continued = frozenset(np.flatnonzero(~pieces.first[own]).tolist())
        measured = self._tokenizer.measured(texts, tokens, continued)
        return Encoded(documents, len(tokens), *measured, tokens.tobytes())


@dataclass(frozen=True)
class _Encoding:
    """The job of a process that tokenizes: a tokenizer's folder, and a spool.

    Attributes:
        modules: their imports register the kind of the tokenizer.
    """

    modules: tuple[str, ...]
    tokenizer_dir: str
    spool: Spool
    verb: str = "tokenizes"

    def start(self) -> BatchEncoder[Batch]:
        return BatchEncoder(load_tokenizer(self.tokenizer_dir), self.spool)


def encode_batches(
    tokenizer: Tokenizer,
    tokenizer_dir: str,
    spool: Spool,
    processes: int,
    small: int = _SMALL,
) -> Iterator[dict[Part, Encoded]]:
    """Tokenizes all batches, in order.

    Args:
        tokenizer: the tokenizer, for this process.
        tokenizer_dir: where it was saved, for the others.
        spool: the documents.
        processes: how many processes; 1 stays in this one.
        small: bytes of documents up to which the work stays in this process, too.

    Raises:
        TfscaleError: a process died.
    """
    module = module_of(type(tokenizer))
    # Other processes know a kind only if a module that they can import registers it.
    batches = spool.batches
    if processes == 1 or module is None or not batches or batches[-1].end < small:
        yield from map(BatchEncoder(tokenizer, spool), batches)
        return
    job = _Encoding((module,), tokenizer_dir, spool)
    yield from in_order(job, batches, min(processes, len(batches)))
