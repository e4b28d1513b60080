"""Windows of the training shards from any place on, through the index of their members.

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
from tfscale.data.windows import stored_dtype, windows_of

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
    def _shards(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Paths, bytes and tokens of the shards."""
        shards = self.manifest.split("train").shards
        paths = [os.path.join(self.data_dir, shard.file) for shard in shards]
        sizes, tokens = ([getattr(shard, name) for shard in shards] for name in ("size", "tokens"))
        return paths, np.array(sizes, np.int64), np.array(tokens, np.int64)

    @property
    def _per_member(self) -> int:
        return self.index.record_tokens * self.index.member_records

    def read(self, shard: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        """Returns a window (T + 1,) in the stored type.

        Args:
            shard: number of the shard.
            start: place of the window's first target in it; the token before is the first of the
                window, and at the beginning of a shard that is the end token.
        """
        first, end = tf.maximum(start - 1, 0), start + self.sequence_length
        # The members from the one of the first token to the one of the last.
        member, last = first // self._per_member, (end - 1) // self._per_member
        window = self._tokens(shard, member, last + 1, first, end)
        missing = self._end_token(start == 0)
        return tf.ensure_shape(tf.concat([missing, window], 0), (self.sequence_length + 1,))

    def windows_from(self, shard: tf.Tensor, start: tf.Tensor) -> tf.data.Dataset:
        """Returns the windows (T + 1,) of a shard from one on, in the stored type.

        Args:
            shard: number of the shard.
            start: place of the first window's first target, as in `read`.
        """
        tokens = tf.gather(tf.constant(self._shards[2]), shard)
        first = tf.maximum(start - 1, 0) // self._per_member

        def block(member: tf.Tensor) -> tf.Tensor:
            begin = member * self._per_member
            end = tf.minimum(begin + self._per_member, tokens)
            return self._tokens(shard, member, member + 1, begin, end)

        members = tf.data.Dataset.range(first, -(-tokens // self._per_member))
        # Before the first member stands the end token; a later one begins with a token of the text.
        before = self._end_token(first == 0)
        passed = start - 1 - first * self._per_member + tf.size(before, tf.int64)
        return windows_of(members.map(block), self.sequence_length, before, passed)

    def _end_token(self, wanted: tf.Tensor) -> tf.Tensor:
        """Returns the end token (1,), or nothing (0,)."""
        end = tf.cast(self.manifest.end_id, stored_dtype(self.manifest))
        return tf.fill([tf.cast(wanted, tf.int32)], end)

    def _tokens(
        self,
        shard: tf.Tensor,
        member: tf.Tensor,
        after: tf.Tensor,
        first: tf.Tensor,
        end: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the tokens of a shard from `first` to before `end`, which lie in the members from
        `member` to before `after`."""
        dtype = stored_dtype(self.manifest)
        data = self._bytes(shard, member, after)
        tokens = tf.io.decode_raw(data, dtype, little_endian=True)
        # Between the tokens is what frames the records, whole tokens long.
        places = tf.range(first, end) - member * self._per_member
        places += (places // self.index.record_tokens) * (_AROUND // dtype.size)
        return tf.gather(tokens, places + _BEFORE // dtype.size)

    def _bytes(self, shard: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        """Returns the decompressed members of a shard from `first` to before `end`."""
        paths, sizes, _ = self._shards
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
