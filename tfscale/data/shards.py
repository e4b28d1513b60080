"""Cuts a split's tokens into compressed TFRecord shards.

A shard consists of members: gzip files of some records each, one after the other, which together
are a gzip file. All that reads TFRecords reads them, and with the sizes of the members one can be
read without the others.
"""

import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

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
"""What zlib calls gzip with a window of 32 KiB. Its header holds no time of day."""
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
    tokens = os.path.getsize(tokens_path) // token_size
    borders = [number * tokens // num_shards for number in range(num_shards + 1)]

    def write(number: int) -> WrittenShard:
        name = f"{split}-{number:05}-of-{num_shards:05}.tfrecord.gz"
        path = os.path.join(directory, name)
        first, end = borders[number], borders[number + 1]
        sizes = _write_shard(
            path, tokens_path, first * token_size, end * token_size, RECORD_TOKENS * token_size
        )
        shard = Shard(name, end - first, sha256_file(path), os.path.getsize(path))
        return WrittenShard(shard, sizes)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(write, range(num_shards)))


def _write_shard(path: str, tokens_path: str, start: int, end: int, record_size: int) -> list[int]:
    """Writes the bytes from `start` to `end` as a shard; returns the bytes of its members."""
    sizes = []
    group_size = record_size * MEMBER_RECORDS * _GROUP_MEMBERS
    with open(tokens_path, "rb") as source, open(path, "wb") as shard:
        source.seek(start)
        for first in range(start, end, group_size):
            size = min(group_size, end - first)
            for member in _members(source.read(size), record_size):
                # Level 1 takes a tenth of the time of tokenization; level 6 half of it, for files
                # smaller by an eighth.
                compressor = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
                sizes.append(shard.write(compressor.compress(member) + compressor.flush()))
    return sizes


def _members(content: bytes, record_size: int) -> Iterator[bytes]:
    """Yields some TFRecords at a time.

    Args:
        content: tokens.
        record_size: bytes of the data of a record.
    """
    records = tf_records(content, record_size)
    for first in range(0, len(records), MEMBER_RECORDS):
        yield b"".join(records[first : first + MEMBER_RECORDS])
