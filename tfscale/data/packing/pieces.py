"""The lengths of documents, and of the pieces of those that are longer than a row.

A document of n tokens is n targets: its tokens and, as the last of them, its end token. One of more
than T is cut into pieces of T, and what is left over.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tfscale.data.manifest import Manifest, Shard
from tfscale.data.tokens import shard_blocks
from tfscale.errors import DataError

_AT_ONCE = 8
"""Shards that are read at a time."""


def document_lengths(data_dir: str, manifest: Manifest, shards: Sequence[int]) -> np.ndarray:
    """Returns the tokens (N,) int64 of each document of some shards, its end token included.

    The shards are read for it, because older data folders do not say where documents end.

    Args:
        data_dir: the data folder.
        manifest: its manifest.
        shards: numbers of training shards, which are one stream.

    Raises:
        DataError: a shard cannot be read, or the last of them ends within a document.
    """
    split = manifest.split("train")
    read = [split.shards[number] for number in shards]

    def ends(shard: Shard) -> np.ndarray:
        places, at = [np.empty(0, np.int64)], 0
        for block in shard_blocks(data_dir, manifest, shard):
            places.append(np.flatnonzero(block == manifest.end_id) + (at + 1))
            at += len(block)
        return np.concatenate(places)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(ends, read))
    begins = np.cumsum([0, *(shard.tokens for shard in read)])
    places = [of_shard + begin for of_shard, begin in zip(found, begins[:-1], strict=True)]
    borders = np.concatenate([[0], *places])
    if borders[-1] != begins[-1]:
        raise DataError(
            f"{os.path.join(data_dir, read[-1].file)} ends within a document, not by the end token"
            f" {manifest.end_id}: documents cannot be packed; prepare the data again"
        )
    return np.diff(borders)


def piece_lengths(documents: np.ndarray, row_length: int) -> np.ndarray:
    """Returns the tokens (M,) int64 of the pieces of documents, in their order.

    Args:
        documents: (N,) tokens of each document.
        row_length: T, the most tokens of a piece.

    Example:
        piece_lengths(np.array([3, 9, 4]), 4)    # [3, 4, 4, 1, 4]
    """
    pieces = -(-documents // row_length)
    lengths = np.full(int(pieces.sum()), row_length, np.int64)
    lengths[np.cumsum(pieces) - 1] = documents - (pieces - 1) * row_length
    return lengths
