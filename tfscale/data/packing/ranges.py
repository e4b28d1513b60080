"""The tokens of any stretch of a stream of shards, as NumPy arrays."""

import os
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfscale.data.index import ShardIndex
from tfscale.data.manifest import Manifest, Shard
from tfscale.data.tokens import numpy_dtype, shard_blocks
from tfscale.errors import DataError, reason
from tfscale.files.paths import open_file

_BEFORE, _AFTER = 12, 4
"""Bytes of a TFRecord before its data (its length and a checksum), and after it (a checksum)."""
_GZIP = 31
"""zlib's number for gzip with a window of 32 KiB."""


@dataclass(frozen=True)
class TokenRanges:
    """Reads stretches of the stream that some training shards are, one after the other.

    Attributes:
        data_dir: the data folder.
        manifest: its manifest.
        index: its index; None reads each shard from its beginning.
        shards: numbers of the shards, in the training split.

    Example:
        TokenRanges("data", manifest, index, shards=[0, 1]).read(1_000, 2_000)
    """

    data_dir: str
    manifest: Manifest
    index: ShardIndex | None
    shards: list[int]

    @cached_property
    def _borders(self) -> np.ndarray:
        """The place of the first token of each shard, and the end of the last."""
        shards = self.manifest.split("train").shards
        return np.cumsum([0, *(shards[number].tokens for number in self.shards)])

    def read(self, first: int, end: int) -> np.ndarray:
        """Returns the tokens (end - first,) from `first` to before `end`, in their stored type.

        Raises:
            DataError: a shard cannot be read.
        """
        shards = self.manifest.split("train").shards
        parts = [np.empty(0, numpy_dtype(self.manifest))]
        from_shard = int(np.searchsorted(self._borders, first, side="right")) - 1
        to_shard = int(np.searchsorted(self._borders, end, side="left"))
        for at in range(from_shard, to_shard):
            begin, number = int(self._borders[at]), self.shards[at]
            shard = shards[number]
            if not shard.tokens:
                continue
            inner = max(first - begin, 0), min(end - begin, shard.tokens)
            if self.index is None:
                parts.append(self._from_start(shard, *inner))
            else:
                parts.append(self._by_index(self.index, number, shard, *inner))
        return np.concatenate(parts)

    def _from_start(self, shard: Shard, first: int, end: int) -> np.ndarray:
        parts, at = [], 0
        for block in shard_blocks(self.data_dir, self.manifest, shard):
            parts.append(block[max(first - at, 0) : max(end - at, 0)])
            at += len(block)
            if at >= end:
                break
        return np.concatenate(parts)

    def _by_index(
        self, index: ShardIndex, number: int, shard: Shard, first: int, end: int
    ) -> np.ndarray:
        per_member = index.record_tokens * index.member_records
        member, last = first // per_member, (end - 1) // per_member
        place = index.first[number]
        offsets = index.offsets[place + member : place + last + 2]
        path = os.path.join(self.data_dir, shard.file)
        try:
            with open_file(path) as file:
                file.seek(int(offsets[0]))
                data = file.read(int(offsets[-1] - offsets[0]))
            borders = (offsets - offsets[0]).tolist()
            members = [
                zlib.decompress(data[start:stop], _GZIP)
                for start, stop in zip(borders[:-1], borders[1:], strict=True)
            ]
            tokens = np.concatenate([self._tokens(index, member) for member in members])
            begin = member * per_member
            if len(tokens) < end - begin:
                raise ValueError("it has fewer tokens than its index says")
        except (OSError, ValueError, zlib.error) as error:
            raise DataError(f"the shard {path} could not be read: {reason(error)}") from error
        return tokens[first - begin : end - begin]

    def _tokens(self, index: ShardIndex, member: bytes) -> np.ndarray:
        """Returns the tokens of a decompressed member, without what frames its records."""
        dtype = numpy_dtype(self.manifest)
        framed = index.record_tokens * dtype.itemsize + _BEFORE + _AFTER
        content = np.frombuffer(member, np.uint8)
        whole = len(content) // framed * framed
        records = content[:whole].reshape(-1, framed)[:, _BEFORE:-_AFTER]
        parts = [records.reshape(-1).view(dtype)]
        if whole < len(content):
            parts.append(content[whole + _BEFORE : len(content) - _AFTER].view(dtype))
        return np.concatenate(parts)
