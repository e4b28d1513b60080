"""TFRecords as bytes: what `tf.io.TFRecordWriter` writes, without TensorFlow.

TensorFlow takes seconds to load, as long as some 20 MB of text take to be tokenized, and its writer
knows only files. A record is its length (8 bytes, little-endian), a checksum of that, the data, and
a checksum of it. A checksum is a CRC-32C whose bits are rotated and added to a constant.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import struct

import google_crc32c

_MASK = 0xA282EAD8


def tf_records(content: bytes, record_size: int) -> list[bytes]:
    """Returns the TFRecords of data that is cut evenly.

    Args:
        content: the data of all records, one after the other.
        record_size: bytes of each; the last one may be shorter.

    Example:
        b"".join(tf_records(tokens.tobytes(), 32_768))    # the content of a TFRecord file
    """
    return [
        _framed(content[start : start + record_size])
        for start in range(0, len(content), record_size)
    ]


def _framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    rotated = crc >> 15 | crc << 17
    return struct.pack("<I", (rotated + _MASK) & 0xFFFFFFFF)
