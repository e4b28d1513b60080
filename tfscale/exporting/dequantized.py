"""A copy of a rounded .tflite file that computes in float32: each weight is the number that its
code stands for, and the operations are the same.

A product with a rounded matrix rounds what it is given too, and how far that moves the logits of a
deep network is known as a bound that is far too wide for most. The copy does not round it. Its
logits are those of the network with rounded weights, as near as those of a float32 file, however
many layers there are: a wrong number, a lost operation or two rows in each other's place show.

Shapes: F rows of a stored matrix, D its columns.
"""

import contextlib
import mmap
import os
from collections.abc import Iterator
from typing import IO

import numpy as np
from ai_edge_litert.schema_py_generated import (
    BlockwiseQuantizationT,
    ModelT,
    SubGraphT,
    TensorT,
    TensorType,
)
from ai_edge_litert.tools import flatbuffer_utils

from tfscale.exporting.flatbuffer import write_to
from tfscale.exporting.streamed import Streamed
from tfscale.files.description import METADATA_FILE
from tfscale.files.paths import read_json, sha256_file, write_json
from tfscale.files.scratch import scratch_folder, scratch_writes

_CODES = {TensorType.INT8, TensorType.INT4}
_PART = 1 << 20
"""Numbers that are in memory at a time."""


def write_dequantized(file: IO[bytes], path: str) -> None:
    """Writes the float32 copy of a .tflite file whose weights are int8 or int4.

    Args:
        file: is written from its beginning on.
        path: the rounded file.

    Example:
        with open("float32.tflite", "wb") as file:
            write_dequantized(file, "export/model.tflite")
    """
    with open(path, "rb") as rounded:
        content = mmap.mmap(rounded.fileno(), 0, access=mmap.ACCESS_READ)
    # A view, so that constants stay in the file until they are written. It is gone with the model.
    model = flatbuffer_utils.read_model_from_bytearray(memoryview(content))
    _dequantize(model)
    write_to(file, model)


def _dequantize(model: ModelT) -> None:
    """Makes the rounded constants of a model float32."""
    numbers: dict[int, DequantizedWeight] = {}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            data = model.buffers[tensor.buffer].data
            if tensor.type not in _CODES or data is None or not _has_scales(tensor):
                continue
            if tensor.buffer not in numbers:
                numbers[tensor.buffer] = DequantizedWeight(model, subgraph, tensor)
            tensor.type, tensor.quantization = TensorType.FLOAT32, None
    for index, weight in numbers.items():
        model.buffers[index].data = weight


def _has_scales(tensor: TensorT) -> bool:
    """Returns whether a tensor holds rounded numbers, and not whole ones of a model's own."""
    parameters = tensor.quantization
    return parameters is not None and (
        parameters.scale is not None or isinstance(parameters.details, BlockwiseQuantizationT)
    )


class DequantizedWeight(Streamed):
    """The float32 numbers of a rounded constant, computed part by part.

    Args:
        model: the file.
        subgraph: has the tensor, and the one with its scales.
        tensor: an int8 or int4 constant.
    """

    def __init__(self, model: ModelT, subgraph: SubGraphT, tensor: TensorT):
        self.shape = tuple(int(size) for size in tensor.shape)
        self._in_int4 = tensor.type == TensorType.INT4
        self._codes = np.frombuffer(model.buffers[tensor.buffer].data, np.uint8)
        parameters = tensor.quantization
        self._blocks: tuple[int, ...] = self.shape
        if isinstance(parameters.details, BlockwiseQuantizationT):
            # One scale per block of a row (F, D / block).
            stored = subgraph.tensors[parameters.details.scales]
            data = np.frombuffer(model.buffers[stored.buffer].data, np.float16)
            scales = data.astype(np.float32).reshape(self.shape[0], -1)
            self._scales = scales[..., None]
            self._blocks = (*scales.shape, parameters.details.blockSize)
        else:
            # One scale for all, or one for each place of an axis.
            scales = np.asarray(parameters.scale, np.float32)
            axes = [1] * len(self.shape)
            axes[parameters.quantizedDimension] = len(scales)
            self._scales = scales.reshape(axes)

    def __len__(self) -> int:
        return 4 * int(np.prod(self.shape))

    def parts(self) -> Iterator[bytes]:
        """Returns the numbers, some rows (N, D) at a time."""
        width = int(np.prod(self.shape[1:]))
        step = max(1, _PART // max(width, 1))
        for start in range(0, self.shape[0], step):
            end = min(start + step, self.shape[0])
            codes = self._read(start * width, end * width).reshape(-1, *self._blocks[1:])
            by_row = self._scales.shape[0] == self.shape[0] > 1
            scales = self._scales[start:end] if by_row else self._scales
            yield (codes.astype(np.float32) * scales).tobytes()

    def _read(self, start: int, end: int) -> np.ndarray:
        """Returns some codes, in int4 whole blocks, which end with a byte."""
        if not self._in_int4:
            return self._codes[start:end].view(np.int8)
        packed = self._codes[start // 2 : end // 2].view(np.int8)
        # The first code of a byte is its lower half; shifts keep the sign.
        return np.stack([(packed << 4) >> 4, packed >> 4], axis=-1).reshape(-1)


@contextlib.contextmanager
def dequantized_folder(folder: str) -> Iterator[str]:
    """Yields a folder like an export's, whose file computes in float32; it is removed at the end.

    Args:
        folder: holds model.tflite, model.json and what belongs to them.

    Example:
        with dequantized_folder("export") as copy:
            logits = tfscale.device.load(copy).logits(ids)
    """
    with scratch_folder("tfscale-export-") as copy:
        path = os.path.join(copy, "model.tflite")
        with scratch_writes(), open(path, "wb") as file:
            write_dequantized(file, os.path.join(folder, "model.tflite"))
        for name in os.listdir(folder):
            if name not in ("model.tflite", METADATA_FILE):
                os.symlink(os.path.join(os.path.abspath(folder), name), os.path.join(copy, name))
        description = read_json(os.path.join(folder, METADATA_FILE), "description of the file")
        write_json(os.path.join(copy, METADATA_FILE), description | {"sha256": sha256_file(path)})
        yield copy
