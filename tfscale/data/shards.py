"""Cuts a split's tokens into compressed TFRecord shards.

A shard consists of members: gzip files of some records each, one after the other, which together
are a gzip file. All that reads TFRecords reads them, and with the sizes of the members one can be
read without the others.
"""

import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from tfscale.data.manifest import Shard
from tfscale.data.records import tf_records
from tfscale.errors import DataError
from tfscale.files.paths import sha256_file

RECORD_TOKENS = 16_384
"""Tokens of a record; the last one of a shard is shorter."""
MEMBER_RECORDS = 4
"""Records of a member. A compressor that begins anew finds no repetitions of what came before: with
one record the files are larger by 3 to 6 %, with four by 1 to 2 %."""

_GZIP = 31
"""zlib's number for gzip with a window of 32 KiB. The header holds no time of day."""
_GROUP_MEMBERS = 16
"""Members that are uncompressed in memory at a time, about 2 MB."""
_SHARD_TOKENS = 4_000_000
_SMALL_SHARD_TOKENS = 4096


def shard_count(tokens: int, wanted: int = 0) -> int:
    """Returns how many shards a split of `tokens` tokens gets.

    Args:
        tokens: tokens of the split, 1 or more.
        wanted: the number asked for; 0 takes one per 4 million tokens, and up to 4 of at least
            4,096 tokens, so that small data sets too can be read by several input pipelines.

    Raises:
        DataError: there would be shards without tokens.
    """
    if wanted > tokens:
        raise DataError(f"shards={wanted} is more than the {tokens} tokens of the training split")
    return wanted or max(-(-tokens // _SHARD_TOKENS), min(4, tokens // _SMALL_SHARD_TOKENS), 1)


class WrittenShard(NamedTuple):
    """A shard, and the bytes of each of its members."""

    shard: Shard
    member_sizes: list[int]


def write_shards(
    directory: str, split: str, tokens_path: str, token_size: int, num_shards: int, threads: int
) -> list[WrittenShard]:
    """Writes shards of equal length, `train-00000-of-00004.tfrecord.gz` and so on.

    Args:
        directory: the data folder.
        split: its name.
        tokens_path: file of the split's tokens, little-endian.
        token_size: bytes of a token, 2 or 4.
        num_shards: how many shards.
        threads: how many to write at the same time.

    Returns:
        The shards, in order: contiguous parts of the token stream that differ by one token at most.

    Raises:
        OSError: the disk is full.
    """
    borders = shard_borders(os.path.getsize(tokens_path) // token_size, num_shards)

    def write(number: int) -> WrittenShard:
        name = shard_name(split, number, num_shards)
        first, end = borders[number], borders[number + 1]
        with open(tokens_path, "rb") as source:
            source.seek(first * token_size)
            return write_shard(os.path.join(directory, name), name, source, end - first, token_size)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(write, range(num_shards)))


def shard_borders(tokens: int, num_shards: int) -> list[int]:
    """Returns where each shard of a stream of tokens begins, and where the last one ends."""
    return [number * tokens // num_shards for number in range(num_shards + 1)]


def shard_name(split: str, number: int, num_shards: int) -> str:
    """Returns the name of a shard's file."""
    return f"{split}-{number:05}-of-{num_shards:05}.tfrecord.gz"


class Source(Protocol):
    """Bytes that are read in order."""

    def read(self, size: int, /) -> bytes:
        """Returns the next bytes, as many where there are."""


def write_shard(path: str, name: str, source: Source, tokens: int, token_size: int) -> WrittenShard:
    """Writes a shard.

    Args:
        path: the file to write.
        name: what the manifest calls it.
        source: the tokens, little-endian.
        tokens: how many are read.
        token_size: bytes of a token, 2 or 4.

    Raises:
        OSError: the disk is full.
    """
    sizes = []
    record_size = RECORD_TOKENS * token_size
    group_size = record_size * MEMBER_RECORDS * _GROUP_MEMBERS
    with open(path, "wb") as shard:
        for first in range(0, tokens * token_size, group_size):
            content = source.read(min(group_size, tokens * token_size - first))
            for member in _members(content, record_size):
                # Level 1 takes a tenth of the time of tokenization; level 6 half of it, for files
                # smaller by an eighth.
                compressor = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
                sizes.append(shard.write(compressor.compress(member) + compressor.flush()))
    written = Shard(name, tokens, sha256_file(path), os.path.getsize(path))
    return WrittenShard(written, sizes)


def _members(content: bytes, record_size: int) -> Iterator[bytes]:
    """Yields some TFRecords at a time.

    Args:
        content: tokens.
        record_size: bytes of the data of a record.
    """
    records = tf_records(content, record_size)
    for first in range(0, len(records), MEMBER_RECORDS):
        yield b"".join(records[first : first + MEMBER_RECORDS])
