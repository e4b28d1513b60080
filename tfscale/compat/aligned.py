"""Arrays whose memory begins where TensorFlow and LiteRT want it, so that they use it in place."""

import numpy as np

ALIGNMENT = 64
"""Bytes; what both runtimes demand of memory that is not their own."""


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Returns an array of zeros; memory is taken when it is first written.

    Example:
        aligned_zeros((2, 3), np.dtype("float32")).ctypes.data % 64    # 0
    """
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % ALIGNMENT
    return memory[begin : begin + size].view(dtype).reshape(shape)
