"""Any window of the training shards by its place, through the index of their members.

Only TensorFlow's own operations read, so that the datasets also run in the processes of others, as
on parameter servers.

Shapes: T sequence length.
"""

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

from tfscale.data.index import ShardIndex
from tfscale.data.manifest import Manifest
from tfscale.data.windows import stored_dtype

_BEFORE, _AROUND = 12, 16
"""Bytes of a TFRecord before its data (its length and a checksum), and before and after it."""


@dataclass(frozen=True)
class WindowReader:
    """Reads windows of the training shards one by one.

    Attributes:
        data_dir: the data folder.
        manifest: its manifest.
        index: its index.
        sequence_length: T, tokens of a window.
    """

    data_dir: str
    manifest: Manifest
    index: ShardIndex
    sequence_length: int

    @cached_property
    def _shards(self) -> tuple[list[str], np.ndarray]:
        """Paths and bytes of the shards."""
        shards = self.manifest.split("train").shards
        paths = [os.path.join(self.data_dir, shard.file) for shard in shards]
        return paths, np.array([shard.size for shard in shards], np.int64)

    def read(self, shard: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        """Returns a window (T + 1,) in the stored type.

        Args:
            shard: number of the shard.
            start: place of the window's first target in it; the token before is the first of the
                window, and at the beginning of a shard that is the end token.
        """
        per_record = self.index.record_tokens
        per_member = per_record * self.index.member_records
        first, end = tf.maximum(start - 1, 0), start + self.sequence_length
        # The members from the one of the first token to the one of the last.
        before, last = first // per_member, (end - 1) // per_member
        data = self._bytes(shard, before, last + 1)
        dtype = stored_dtype(self.manifest)
        tokens = tf.io.decode_raw(data, dtype, little_endian=True)
        # Between the tokens is what frames the records, whole tokens long.
        places = tf.range(first, end) - before * per_member
        places += (places // per_record) * (_AROUND // dtype.size) + _BEFORE // dtype.size
        window = tf.gather(tokens, places)
        missing = tf.fill([self.sequence_length + 1 - tf.size(window)], self._end(dtype))
        return tf.ensure_shape(tf.concat([missing, window], 0), (self.sequence_length + 1,))

    def _bytes(self, shard: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        """Returns the decompressed members of a shard from `first` to before `end`."""
        paths, sizes = self._shards
        place = tf.gather(tf.constant(self.index.first), shard)
        offsets = tf.constant(self.index.offsets)
        start, stop = tf.gather(offsets, place + first), tf.gather(offsets, place + end)
        # A dataset of one element is the only operation that reads a part of a file.
        part = tf.raw_ops.FixedLengthRecordDatasetV2(
            filenames=tf.gather(tf.constant(paths), shard),
            header_bytes=start,
            record_bytes=stop - start,
            footer_bytes=tf.gather(tf.constant(sizes), shard) - stop,
            buffer_size=stop - start,
            compression_type="",
        )
        [compressed] = tf.raw_ops.DatasetToSingleElement(
            dataset=part, output_types=[tf.string], output_shapes=[()]
        )
        return tf.io.decode_compressed(compressed, "GZIP")

    def _end(self, dtype: tf.DType) -> tf.Tensor:
        return tf.cast(self.manifest.end_id, dtype)
