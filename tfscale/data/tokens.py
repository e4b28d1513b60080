"""The tokens of a split as NumPy arrays, read without TensorFlow."""

import gzip
import os
import struct
from collections.abc import Iterator

import numpy as np

from tfscale.data.manifest import Manifest
from tfscale.errors import DataError
from tfscale.files import open_file

_HEADER = struct.Struct("<QI")
"""A TFRecord: the length of its data, a checksum of that, the data, a checksum of it."""
_CHECKSUM_BYTES = 4


def token_blocks(data_dir: str, manifest: Manifest, split: str) -> Iterator[np.ndarray]:
    """The stream of a split, a record at a time, in order.

    Args:
        data_dir: folder that `tfscale prepare` wrote.
        manifest: its manifest, loaded with verify="sha256", which is what tells damage.
        split: "train", "validation" or "test".

    Yields:
        ids (n,) of the stored type.

    Raises:
        DataError: there is no such split, or a shard cannot be read.

    Example:
        stream = np.concatenate(list(token_blocks("data", manifest, "validation")))
    """
    dtype = np.dtype("<u2" if manifest.token_dtype == "uint16" else "<u4")
    for shard in manifest.split(split).shards:
        path = os.path.join(data_dir, shard.file)
        try:
            with open_file(path) as raw, gzip.GzipFile(fileobj=raw) as file:
                while header := file.read(_HEADER.size):
                    length, _ = _HEADER.unpack(header)
                    data = file.read(length)
                    file.read(_CHECKSUM_BYTES)
                    yield np.frombuffer(data, dtype)
        except (OSError, EOFError, struct.error, ValueError) as error:
            raise DataError(f"the shard {path} could not be read: {error}") from error
