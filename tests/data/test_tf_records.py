"""The records against those of TensorFlow's writer."""

import numpy as np
import pytest
import tensorflow as tf

from tfscale.data.records import tf_records


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
