"""The tokens of a split as NumPy arrays, read without TensorFlow."""

import gzip
import os
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from tfscale.data.manifest import Manifest, Shard
from tfscale.errors import DataError, reason
from tfscale.files.paths import open_file
from tfscale.text.score import ScoredText
from tfscale.text.tokenizers import Tokenizer

PART_TOKENS = 1 << 20
"""Tokens that are handed on at once where a whole split would be too much."""
_HEADER = struct.Struct("<QI")
"""A TFRecord: the length of its data, a checksum of that, the data, a checksum of it."""
_CHECKSUM_BYTES = 4


def token_blocks(
    data_dir: str, manifest: Manifest, split: str, source: str | None = None
) -> Iterator[np.ndarray]:
    """Yields the stream of a split, a record at a time, in order.

    Args:
        data_dir: folder that `tfscale prepare` wrote.
        manifest: its manifest, loaded with verify="sha256", which is what tells damage.
        split: "train", "validation" or "test".
        source: of one of its sources alone; None for the whole split.

    Yields:
        ids (n,) of the stored type.

    Raises:
        DataError: there is no such split, or a shard cannot be read.

    Example:
        stream = np.concatenate(list(token_blocks("data", manifest, "validation")))
    """
    shards = manifest.split(split).shards
    for shard in shards if source is None else (s for s in shards if s.source == source):
        yield from shard_blocks(data_dir, manifest, shard)


def shard_blocks(data_dir: str, manifest: Manifest, shard: Shard) -> Iterator[np.ndarray]:
    """Yields the tokens of a shard, a record at a time, in order.

    Args:
        data_dir: folder that `tfscale prepare` wrote.
        manifest: its manifest.
        shard: one of its shards.

    Yields:
        ids (n,) of the stored type.

    Raises:
        DataError: the shard cannot be read, or has another number of tokens than it should.
    """
    dtype = numpy_dtype(manifest)
    path = os.path.join(data_dir, shard.file)
    left = shard.tokens * dtype.itemsize
    try:
        with open_file(path) as raw, gzip.GzipFile(fileobj=raw) as file:
            while header := file.read(_HEADER.size):
                length, _ = _HEADER.unpack(header)
                left -= length
                if left < 0:  # Before as much is read: the length may be anything.
                    raise ValueError(
                        f"it has more than the {shard.tokens:,} tokens of the manifest"
                    )
                data = file.read(length)
                file.read(_CHECKSUM_BYTES)
                yield np.frombuffer(data, dtype)
        if left:
            raise ValueError(f"it has fewer than the {shard.tokens:,} tokens of the manifest")
    except (OSError, EOFError, struct.error, ValueError, zlib.error) as error:
        raise DataError(f"the shard {path} could not be read: {reason(error)}") from error


def numpy_dtype(manifest: Manifest) -> np.dtype:
    """Returns the type of stored tokens."""
    return np.dtype("<u2" if manifest.token_dtype == "uint16" else "<u4")


def split_stream(data_dir: str, split: str) -> np.ndarray:
    """Returns all tokens of a split, in order: ids (N,) int32.

    Raises:
        DataError: the data folder is damaged, or has no such split.
    """
    return np.concatenate(list(token_blocks(data_dir, Manifest.load(data_dir), split))).astype(
        np.int32
    )


def split_text(data_dir: str, manifest: Manifest, split: str, tokenizer: Tokenizer) -> ScoredText:
    """Returns what is known about the text of a split.

    Where an older folder's manifest has no count of unknown tokens, they are counted here. The text
    itself is gone: what a tokenizer that loses text has lost of it stays unknown.

    Raises:
        DataError: there is no such split, or a shard cannot be read.
    """
    described = manifest.split(split)
    unknown, lost = described.unknown_tokens, described.lost_bits
    if unknown is None:
        id = tokenizer.unknown_id
        blocks = token_blocks(data_dir, manifest, split) if id is not None else iter(())
        unknown = sum(int(np.count_nonzero(block == id)) for block in blocks)
    if lost is None and tokenizer.lossless:
        lost = 0.0
    return ScoredText(described.utf8_bytes, unknown, lost)


def first_tokens(
    data_dir: str | None, tokenizer_digest: str, count: int
) -> tuple[np.ndarray | None, str]:
    """Returns up to `count` tokens that no model was trained on.

    They are the first of the validation split, or of the test split.

    Args:
        data_dir: the data folder that a run names; None if it names none, or it is gone.
        tokenizer_digest: of the run's tokenizer; the data must be of the same.
        count: how many.

    Returns:
        ids (n,) int32 and their source; or None, and why there are none.
    """
    if data_dir is None:
        return None, "the run names no data folder"
    # The name alone: the device must not learn where the folder lies on this machine.
    name = os.path.basename(os.path.normpath(data_dir))
    try:
        manifest = Manifest.load(data_dir, verify="size")
    except DataError:
        return None, f"its data folder {name} is gone or damaged"
    if manifest.tokenizer_digest != tokenizer_digest:
        return None, f"{name} now has another tokenizer"
    for split in ("validation", "test"):
        if split in manifest.splits and manifest.splits[split].tokens:
            blocks: list[np.ndarray] = []
            for block in token_blocks(data_dir, manifest, split):
                blocks.append(block)
                if sum(map(len, blocks)) >= count:
                    break
            return np.concatenate(blocks)[:count].astype(np.int32), f"{split} split of {name}"
    return None, f"{name} has neither a validation nor a test split"
