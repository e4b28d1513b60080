"""TFRecords as bytes, many at once: what `tf.io.TFRecordWriter` writes, without TensorFlow.

TensorFlow takes seconds to load, as long as some 20 MB of text take to be tokenized, and its writer
knows only files. A record is its length (8 bytes, little-endian), a checksum of that, the data, and
a checksum of it. A checksum is a CRC-32C (Castagnoli, RFC 3720, appendix B.4) whose bits are moved.

A CRC without the inversion of its first and last bits is linear in the data, and zeros in front of
the data do not change it. So the data of all records is cut into lanes of the same length, which
are worked on side by side; then neighbouring lanes are joined, by moving the checksum of the first
past the bytes of the second.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import functools

import numpy as np

_POLYNOMIAL = np.uint32(0x82F63B78)
"""Castagnoli's, its bits in reverse."""
_ONES = np.uint32(0xFFFFFFFF)
_MASK = np.uint32(0xA282EAD8)
_LANE = 64
"""Bytes of a lane."""


def tf_records(content: bytes, record_size: int) -> list[bytes]:
    """Returns the TFRecords of data that is cut evenly.

    Args:
        content: the data of all records, one after the other.
        record_size: bytes of each; the last one may be shorter.

    Example:
        b"".join(tf_records(tokens.tobytes(), 32_768))    # the content of a TFRecord file
    """
    data = np.frombuffer(content, np.uint8)
    whole = len(data) // record_size * record_size
    parts = data[:whole].reshape(-1, record_size), data[whole:].reshape(1, -1)
    return [record for part in parts if part.size for record in _framed(part)]


def _framed(rows: np.ndarray) -> list[bytes]:
    """Returns the records of data (R, size) uint8."""
    count, size = rows.shape
    length = np.array([size], "<u8").view(np.uint8)
    ends = np.cumsum([0, 8, 4, size, 4])
    records = np.empty((count, ends[-1]), np.uint8)
    fields = (length, _masked(checksums(length[None])), rows, _masked(checksums(rows)))
    for start, end, field in zip(ends[:-1], ends[1:], fields, strict=True):
        records[:, start:end] = field
    return [record.tobytes() for record in records]


def _masked(crc: np.ndarray) -> np.ndarray:
    """Returns checksums (R,) as TFRecords hold them: (R, 4) uint8."""
    moved = (crc >> np.uint32(15) | crc << np.uint32(17)) + _MASK
    return moved.astype("<u4").view(np.uint8).reshape(-1, 4)


def checksums(rows: np.ndarray) -> np.ndarray:
    """Returns the CRC-32C (R,) uint32 of each row of (R, size) uint8.

    Example:
        checksums(np.frombuffer(b"123456789", np.uint8)[None])    # [0xE3069283]
    """
    count, size = rows.shape
    lanes = 1 << max(0, -(-size // _LANE) - 1).bit_length()
    padded = np.zeros((count, lanes * _LANE), np.uint8)
    padded[:, lanes * _LANE - size :] = rows
    columns = np.ascontiguousarray(padded.view("<u2").reshape(-1, _LANE // 2).T)
    crc = np.zeros(count * lanes, np.uint32)
    table = _table(16)
    for column in columns:
        crc = table[(crc ^ column) & np.uint32(0xFFFF)] ^ (crc >> np.uint32(16))
    crc, width = crc.reshape(count, lanes), _LANE
    while crc.shape[1] > 1:
        crc, width = _moved(crc[:, ::2], width) ^ crc[:, 1::2], 2 * width
    return ~(crc[:, 0] ^ _moved(_ONES, size))


@functools.cache
def _table(bits: int) -> np.ndarray:
    """Returns what the values of so many bits, 8 or 16, become when they have passed."""
    values = np.arange(1 << bits, dtype=np.uint32)
    for _ in range(bits):
        values = (values >> np.uint32(1)) ^ (values & np.uint32(1)) * _POLYNOMIAL
    return values


def _moved(crc: np.ndarray | np.uint32, size: int) -> np.ndarray:
    """Returns checksums after so many bytes of zeros."""
    first, second, third, fourth = _moves(size)
    low = first[crc & np.uint32(255)] ^ second[crc >> np.uint32(8) & np.uint32(255)]
    return low ^ third[crc >> np.uint32(16) & np.uint32(255)] ^ fourth[crc >> np.uint32(24)]


@functools.cache
def _moves(size: int) -> np.ndarray:
    """Returns what each value of each byte of a checksum becomes after zeros: (4, 256) uint32."""
    if not size:
        return np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], np.uint32)
    if size % 2:
        before = _moves(size - 1)
        return _table(8)[before & np.uint32(255)] ^ (before >> np.uint32(8))
    return _moved(_moves(size // 2), size // 2)
