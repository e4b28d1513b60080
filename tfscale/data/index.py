"""`train.index`: the place of each member in the compressed training shards.

A member is some records that are compressed by themselves, so that it can be read without those
before it. The file holds a SHA-256 digest (32 bytes), the tokens of a record, the records of a
member, and the bytes of each member, shard after shard; these are numbers of 4 bytes,
little-endian. The digest is of the numbers and of the digests of the shards, so that an index of
other shards is refused. Folders that were written before there was an index, or that lost it, are
read without: see `tfscale.data.epochs`.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.data.manifest import Manifest, Shard
from tfscale.errors import DataError
from tfscale.files.paths import atomic_write, exists, read_bytes

INDEX_FILE = "train.index"
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class ShardIndex:
    """The members of the training shards.

    Attributes:
        record_tokens: tokens of a record; the last one of a shard may be shorter.
        member_records: records of a member; the last one of a shard may have fewer.
        offsets: (N,) int64, for each shard the first byte of each member, and the size of the file
            after them.
        first: (S,) int64, for each of S shards where its offsets begin.
    """

    record_tokens: int
    member_records: int
    offsets: np.ndarray
    first: np.ndarray


def write_index(
    directory: str,
    shards: Sequence[Shard],
    member_sizes: Sequence[Sequence[int]],
    record_tokens: int,
    member_records: int,
) -> None:
    """Writes `train.index`.

    Args:
        directory: the data folder.
        shards: of the training split, in their order.
        member_sizes: for each shard the bytes of its members.
        record_tokens: tokens of a record.
        member_records: records of a member.
    """
    sizes = (size for sizes in member_sizes for size in sizes)
    numbers = np.array([record_tokens, member_records, *sizes], "<u4")
    with atomic_write(os.path.join(directory, INDEX_FILE), "wb") as file:
        file.write(_digest(shards, numbers.tobytes()) + numbers.tobytes())


def read_index(data_dir: str, manifest: Manifest) -> ShardIndex | None:
    """Returns the index of a data folder; None where it has none.

    Raises:
        DataError: the index is damaged, or of other shards.

    Example:
        index = read_index("data", Manifest.load("data"))
        index.offsets[index.first[1] + 3]    # where the fourth member of the second shard begins
    """
    path = os.path.join(data_dir, INDEX_FILE)
    if not exists(path):
        return None
    content = read_bytes(path, "the index of the training shards")
    shards = manifest.split("train").shards
    body = content[_DIGEST_BYTES:]
    if len(body) % 4 or len(body) < 8 or content[:_DIGEST_BYTES] != _digest(shards, body):
        raise DataError(
            f"{path} is damaged, or not the index of these shards; prepare the data again, or"
            " delete the file: then a run that goes on reads all that comes before"
        )
    numbers = np.frombuffer(body, "<u4").astype(np.int64)
    record_tokens, member_records, sizes = int(numbers[0]), int(numbers[1]), numbers[2:]
    member_tokens = record_tokens * member_records
    counts = [-(-shard.tokens // max(member_tokens, 1)) for shard in shards]
    if not member_tokens or sum(counts) != len(sizes):
        raise DataError(f"{path} has {len(sizes)} members, and the shards have {sum(counts)}")
    # A zero before the sizes of each shard, so that their running sum is where records begin.
    borders = np.cumsum([0, *counts])
    offsets = [
        np.cumsum([0, *sizes[start:end]])
        for start, end in zip(borders[:-1], borders[1:], strict=True)
    ]
    for shard, places in zip(shards, offsets, strict=True):
        if places[-1] != shard.size:
            raise DataError(
                f"{path} contradicts the manifest: its members of {shard.file} have"
                f" {places[-1]:,} bytes, the shard has {shard.size:,}"
            )
    first = np.cumsum([0, *(len(places) for places in offsets)])[:-1]
    return ShardIndex(record_tokens, member_records, np.concatenate(offsets), first)


def _digest(shards: Sequence[Shard], body: bytes) -> bytes:
    digests = "".join(shard.sha256 for shard in shards)
    return hashlib.sha256(digests.encode("ascii", "replace") + body).digest()
