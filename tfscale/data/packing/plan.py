"""The plan of a training on packed rows: which documents each group of rows reads.

The documents of a stream (the whole split, or a source) are cut into pieces of at most T tokens.
Each group of rows has a stretch of successive pieces, and a stretch is cut into pools of about a
million tokens, each of which is packed into rows by itself: so a pool is read at once, and is all
that is held in memory. Stretches are of as many rows as possible, not of as many tokens, since rows
of one stretch may be fuller than those of another.

All of this follows from the lengths of the documents, T, the batch and the number of shards. Seed
and epoch decide which of the pieces of one length goes where, and the order of the rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.data.manifest import Manifest
from tfscale.data.mixing import Mixture
from tfscale.data.packing.fitting import rows_needed
from tfscale.data.packing.pieces import document_lengths, piece_lengths
from tfscale.data.sharding import input_plan, num_groups
from tfscale.data.window_plan import WindowPlan, mixed_streams
from tfscale.errors import DataError
from tfscale.files.json_text import JsonObject

POOL_TOKENS = 1 << 20
"""Most tokens that are packed at once, but for the last piece of them."""
_POOL_ROWS = 64
"""Rows of a pool of the longest rows: with fewer there would be little to choose from."""


@dataclass(frozen=True)
class Pools:
    """The pools of a group: successive pieces that are packed by themselves.

    Attributes:
        borders: (P + 1,) int64, the first piece of each pool of the stream, and the end of the
            last.
        first_token: (P + 1,) int64, the place of its first token in the stream, and the end.
        rows: (P,) int64, rows that each is packed into.
    """

    borders: np.ndarray
    first_token: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class PackedStream:
    """The documents of some shards, in pieces.

    Attributes:
        shards: numbers of the shards, in their order.
        lengths: (N,) int32, the tokens of each piece.
        groups: the pools of each group.
        documents: how many there are.
        cut: how many of them are longer than a row.
    """

    shards: list[int]
    lengths: np.ndarray
    groups: list[Pools]
    documents: int
    cut: int

    @property
    def tokens(self) -> int:
        """Tokens of all documents."""
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def rows(self) -> list[int]:
        """Rows of each group."""
        return [int(pools.rows.sum()) for pools in self.groups]


@dataclass(frozen=True)
class PackedPlan:
    """The pieces that each group of rows reads.

    Attributes:
        windows: groups, steps of an epoch, and rows of each stream and group in it. Without a mix
            an epoch ends with the batch in which the last of the groups ends, and rows without
            tokens fill it up, so that each epoch has each document once.
        streams: the documents of the whole split, or of each source.
        sequence_length: T, places of a row.
    """

    windows: WindowPlan
    streams: list[PackedStream]
    sequence_length: int

    @property
    def rows_per_epoch(self) -> int:
        """Rows of an epoch; with a mix those of all sources, each read once."""
        return sum(map(sum, self.windows.per_epoch))

    @property
    def empty_rows(self) -> int:
        """How many of them have no tokens."""
        return self.rows_per_epoch - sum(sum(stream.rows) for stream in self.streams)

    @property
    def fill_rate(self) -> float:
        """The share of all places of the rows that are tokens; the shares of a mix count."""
        mixture = self.windows.mixture
        shares = [1.0] if mixture is None else [float(share) for share in mixture.shares]
        return sum(
            share * stream.tokens / (sum(rows) * self.sequence_length)
            for share, stream, rows in zip(
                shares, self.streams, self.windows.per_epoch, strict=True
            )
        )

    def to_dict(self) -> JsonObject:
        """Returns the figures of the packing for a summary."""
        return {
            "documents": sum(stream.documents for stream in self.streams),
            "documents_cut": sum(stream.cut for stream in self.streams),
            "rows_per_epoch": self.rows_per_epoch,
            "fill_rate": self.fill_rate,
        }

    def describe(self) -> str:
        """Returns the figures in one line.

        Example:
            plan.describe()
            # packing: 812 documents in 96 rows of 128 an epoch, 99.1% of them tokens; none is cut
        """
        figures = self.to_dict()
        cut = figures["documents_cut"]
        return (
            f"packing: {figures['documents']:,} documents in {self.rows_per_epoch:,} rows of"
            f" {self.sequence_length:,} an epoch, {self.fill_rate:.1%} of them tokens; "
            + (f"{cut:,} longer than a row are cut" if cut else "none is cut")
            + (f"; {self.empty_rows:,} empty rows end the last batch" if self.empty_rows else "")
        )

    def describe_groups(self, readers: int) -> str:
        """Returns in one line for the log how the documents are dealt out to several readers."""
        plan = self.windows
        size = plan.rows * plan.groups
        counts = [len(ranges) for ranges in input_plan(size, plan.groups, readers)]
        return (
            f"input: documents in {plan.groups} stretches of the text, each of which fills"
            f" {plan.rows} of the {size} rows of every batch; "
            + "; ".join(f"worker {worker} reads {count}" for worker, count in enumerate(counts))
        )


def packed_plan(
    data_dir: str,
    manifest: Manifest,
    sequence_length: int,
    global_batch_size: int,
    mix: Mapping[str, float] | None = None,
) -> PackedPlan:
    """Returns the plan of a training on packed rows; the shards are read for it.

    Args:
        data_dir: the data folder.
        manifest: its manifest.
        sequence_length: T, places of a row.
        global_batch_size: rows of a batch over all input pipelines.
        mix: name of each source -> its weight; None weighs them by their tokens.

    Raises:
        DataError: a shard cannot be read or ends within a document, or the data is too small for a
            batch.
        ConfigError: the mix does not name the sources of the data.
    """
    split = manifest.split("train")
    mixture, numbers = mixed_streams(split, mix)
    shards, tokens = map(min, zip(*(_size(manifest, of) for of in numbers), strict=True))
    # A stretch of as many tokens as a row has the beginning of a piece.
    groups = num_groups(global_batch_size, max(1, min(shards, tokens // sequence_length)))
    streams = []
    for of_stream in numbers:
        documents = document_lengths(data_dir, manifest, of_stream)
        lengths = piece_lengths(documents, sequence_length).astype(np.int32)
        stretches = _stretches(lengths, sequence_length, groups)
        cut = int((documents > sequence_length).sum())
        streams.append(PackedStream(of_stream, lengths, stretches, len(documents), cut))
    total = sum(sum(stream.rows) for stream in streams)
    if total < global_batch_size:
        raise DataError(
            f"global_batch_size={global_batch_size} is larger than the data: with"
            f" sequence_length={sequence_length} the training documents are packed into {total}"
            " rows; prepare more text, or take a smaller batch"
        )
    windows = _windows(mixture, streams, groups, global_batch_size)
    return PackedPlan(windows, streams, sequence_length)


def _size(manifest: Manifest, numbers: Sequence[int]) -> tuple[int, int]:
    """Returns how many shards and how many tokens a stream has."""
    shards = manifest.split("train").shards
    return len(numbers), sum(shards[number].tokens for number in numbers)


def _windows(
    mixture: Mixture | None, streams: list[PackedStream], groups: int, global_batch_size: int
) -> WindowPlan:
    rows = global_batch_size // groups
    numbers = [stream.shards for stream in streams]
    if mixture is None:
        steps = -(-max(streams[0].rows) // rows)
        return WindowPlan(None, numbers, groups, rows, steps, [[steps * rows] * groups])
    per_epoch = [stream.rows for stream in streams]
    steps = sum(map(sum, per_epoch)) // global_batch_size
    return WindowPlan(mixture, numbers, groups, rows, steps, per_epoch)


def _stretches(lengths: np.ndarray, row_length: int, groups: int) -> list[Pools]:
    """Returns the pools of each group."""
    places = _before(lengths)
    stretches = _cut(lengths, places, places, row_length, groups)
    if groups == 1:
        return stretches
    # How many rows a token takes is known for each pool now.
    tokens = np.concatenate([np.diff(pools.first_token) for pools in stretches])
    rows = np.concatenate([pools.rows for pools in stretches])
    pieces = np.concatenate([np.diff(pools.borders) for pools in stretches])
    weights = lengths * np.repeat(rows / tokens, pieces)
    return _cut(lengths, places, _before(weights), row_length, groups)


def _before(numbers: np.ndarray) -> np.ndarray:
    """Returns the sums (N + 1,) of all numbers before each, and of all."""
    sums = np.cumsum(numbers, dtype=np.float64 if numbers.dtype.kind == "f" else np.int64)
    return np.concatenate([np.zeros(1, sums.dtype), sums])


def _cut(
    lengths: np.ndarray, places: np.ndarray, weights: np.ndarray, row_length: int, groups: int
) -> list[Pools]:
    """Cuts pieces into stretches of equal weight, and these into pools.

    Args:
        lengths: (N,) tokens of the pieces.
        places: (N + 1,) where each begins.
        weights: (N + 1,) the weight of all before each.
        row_length: T.
        groups: how many stretches.
    """
    most = max(POOL_TOKENS, _POOL_ROWS * row_length)
    stretches = []
    borders = _borders(weights, groups)
    for first, end in zip(borders[:-1], borders[1:], strict=True):
        tokens = int(places[end] - places[first])
        inner = first + _borders(places[first : end + 1], -(-tokens // most))
        rows = [
            rows_needed(lengths[start:stop], row_length)
            for start, stop in zip(inner[:-1], inner[1:], strict=True)
        ]
        stretches.append(Pools(inner, places[inner], np.array(rows, np.int64)))
    return stretches


def _borders(weights: np.ndarray, parts: int) -> np.ndarray:
    """Returns the borders (parts + 1,) of parts of equal weight, none of which is empty.

    Args:
        weights: (N + 1,) the weight of all before each element, and of all; N is `parts` or more.
        parts: how many.
    """
    count = len(weights) - 1
    wanted = weights[0] + (weights[-1] - weights[0]) * np.arange(parts + 1) / parts
    borders = np.searchsorted(weights, wanted)
    borders[0], borders[-1] = 0, count
    number = np.arange(parts + 1)
    borders = np.maximum.accumulate(borders - number) + number
    return np.minimum(borders, count - (parts - number))
