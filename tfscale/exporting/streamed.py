"""The numbers of a weight as a file stores them, computed part by part while the file is written.

Shapes: F rows of the stored matrix, D its columns, which products sum over; K blocks of a row.
"""

import abc
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from tfscale.models.recipe import WeightFormat
from tfscale.models.weight_formats import INT4_LARGEST, SMALLEST_SCALE

_PART = 1 << 20
"""Numbers that are in memory at a time."""
_INT8_LARGEST = 127
_LEAST = 1e-9
"""Least magnitude by which litert-quantizer scales, so that no scale is 0."""


class Streamed(abc.ABC):
    """A constant of a file whose bytes are computed while it is written."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Returns the number of bytes."""

    @abc.abstractmethod
    def parts(self) -> Iterator[bytes]:
        """Returns the bytes, part by part."""


class StreamedWeight(Streamed):
    """A matrix or table in float32, float16, int8 with a scale per row, or int4 with one per block.

    The file's rows are a table's own; those of a kernel are its columns, as products of the runtime
    want them. The rounding is litert-quantizer's, to the bit.

    Args:
        weight: (D, F), or (F, D) where `form.axis` is 1.
        form: bits, the axis that is summed over, and the block of int4.
    """

    def __init__(self, weight: keras.Variable, form: WeightFormat):
        self.weight, self.form = weight, form
        shape = tuple(int(size) for size in weight.shape)
        self.shape = shape[::-1] if form.axis == 0 else shape

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1] * self.form.bits // 8

    def rows(self) -> Iterator[np.ndarray]:
        """Returns the float32 numbers, some rows (N, D) at a time."""
        count, width = self.shape
        step = max(1, _PART // width)
        value = tf.convert_to_tensor(self.weight.value)
        for start in range(0, count, step):
            end = min(count, start + step)
            part = value[start:end] if self.form.axis == 1 else tf.transpose(value[:, start:end])
            rows = part.numpy()
            yield _without_weak(rows, self.form.block) if self.form.bits == 4 else rows

    def parts(self) -> Iterator[bytes]:
        """Returns the stored bytes, part by part."""
        for rows in self.rows():
            if self.form.bits == 32:
                yield rows.tobytes()
            elif self.form.bits == 16:
                with np.errstate(over="ignore"):  # The comparison finds infinities.
                    yield rows.astype(np.float16).tobytes()
            elif self.form.bits == 8:
                scale = _row_scales(rows)[:, None]
                yield (
                    np.clip(np.rint(rows / scale), -_INT8_LARGEST, _INT8_LARGEST)
                    .astype(np.int8)
                    .tobytes()
                )
            else:
                yield _packed(_in_int4(_blocks(rows, self.form.block)))

    def scales(self) -> np.ndarray:
        """Returns the scales: (F,) float32 of int8; (F, K) float16 of int4."""
        if self.form.bits == 8:
            return np.concatenate([_row_scales(rows) for rows in self.rows()])
        block = self.form.block
        scales = [_block_scales(_blocks(rows, block)) for rows in self.rows()]
        # The runtime takes no smaller scale; blocks that would have one are zeros.
        return np.maximum(np.concatenate(scales), np.float16(SMALLEST_SCALE))


def _row_scales(rows: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(rows).max(axis=1), np.float32(_LEAST)) / np.float32(_INT8_LARGEST)


def _blocks(rows: np.ndarray, block: int) -> np.ndarray:
    return rows.reshape(len(rows), -1, block)


def _without_weak(rows: np.ndarray, block: int) -> np.ndarray:
    """Makes blocks zero whose scale in int4 would not be a normal float16.

    The runtime would refuse the whole file.
    """
    blocks = _blocks(rows, block)
    weak = np.abs(blocks).max(axis=2) / INT4_LARGEST < SMALLEST_SCALE
    return np.where(weak[..., None], np.float32(0), blocks).reshape(rows.shape)


def _block_scales(blocks: np.ndarray) -> np.ndarray:
    """Returns scales (N, K) float16 with the 7 bits of bfloat16, which the runtime's kernels
    want."""
    scales = np.maximum(np.abs(blocks).max(axis=2), np.float32(_LEAST)) / np.float32(INT4_LARGEST)
    rounded = tf.cast(tf.cast(scales, tf.bfloat16), tf.float16)
    return rounded.numpy()


def _in_int4(blocks: np.ndarray) -> np.ndarray:
    scales = _block_scales(blocks).astype(np.float32)[..., None]
    codes = np.divide(blocks, scales, out=np.zeros_like(blocks), where=scales > 0)
    return np.clip(np.rint(codes), -INT4_LARGEST - 1, INT4_LARGEST).astype(np.int8).reshape(-1)


def _packed(codes: np.ndarray) -> bytes:
    """Returns two codes a byte, the first in its lower half."""
    low, high = codes[0::2].view(np.uint8) & 15, codes[1::2].view(np.uint8) & 15
    return (low | (high << 4)).tobytes()
