"""Cuts a split's tokens into compressed TFRecord shards."""

import os
from concurrent.futures import ThreadPoolExecutor

from tfscale.data.manifest import Shard
from tfscale.errors import DataError, TfscaleError
from tfscale.files.paths import sha256_file

RECORD_TOKENS = 16_384
"""Tokens of a record; the last one of a shard is shorter."""

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


def write_shards(
    directory: str, split: str, tokens_path: str, token_size: int, num_shards: int, threads: int
) -> list[Shard]:
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
        TfscaleError: the disk is full.
    """
    tokens = os.path.getsize(tokens_path) // token_size
    borders = [number * tokens // num_shards for number in range(num_shards + 1)]

    def write(number: int) -> Shard:
        name = f"{split}-{number:05}-of-{num_shards:05}.tfrecord.gz"
        path = os.path.join(directory, name)
        first, end = borders[number], borders[number + 1]
        _write_shard(
            path, tokens_path, first * token_size, end * token_size, RECORD_TOKENS * token_size
        )
        return Shard(name, end - first, sha256_file(path), os.path.getsize(path))

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(write, range(num_shards)))


def _write_shard(path: str, tokens_path: str, start: int, end: int, record_size: int) -> None:
    # Imported here: wrong input is reported before TensorFlow has taken its seconds to load.
    import tensorflow as tf

    # Level 1 takes a tenth of the time of tokenization; level 6 half of it, for files smaller by an
    # eighth.
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
    try:
        with open(tokens_path, "rb") as source, tf.io.TFRecordWriter(path, options) as writer:
            source.seek(start)
            for position in range(start, end, record_size):
                writer.write(source.read(min(record_size, end - position)))
    except tf.errors.OpError as error:
        raise TfscaleError(
            f"cannot write the shard {os.path.basename(path)} (no space left?): {error.message}"
        ) from error
