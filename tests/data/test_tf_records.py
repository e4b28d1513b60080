"""The records against TensorFlow's writer, the checksums against those of RFC 3720."""

import numpy as np
import pytest
import tensorflow as tf

from tfscale.data.records import checksums, tf_records


@pytest.mark.parametrize(
    ("content", "crc"),
    [
        (b"123456789", 0xE3069283),
        # RFC 3720, appendix B.4.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_checksums_are_those_of_the_standard(content, crc):
    rows = np.tile(np.frombuffer(content, np.uint8), (3, 1))
    assert checksums(rows).tolist() == [crc] * 3


@pytest.mark.parametrize(
    ("size", "record_size"),
    [
        (0, 10),
        (1, 10),
        (10, 10),
        (95, 10),
        (63, 64),
        (129, 130),
        (70_000, 32_768),
        (300_000, 65_536),
    ],
)
def test_records_are_those_of_tensorflow(tmp_path, size, record_size):
    content = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    with tf.io.TFRecordWriter(str(tmp_path / "records")) as writer:
        for start in range(0, size, record_size):
            writer.write(content[start : start + record_size])
    records = tf_records(content, record_size)
    assert b"".join(records) == (tmp_path / "records").read_bytes()
    assert len(records) == -(-size // record_size)
