"""Stores the matrices and tables of a .tflite file in float16.

TensorFlow's converter does so with every number of a graph: with the frequencies of rotary
positions, so that far positions are turned by other angles, and with epsilons, which may become
zero. Here only what has two axes or more is halved, as weights have; vectors and single numbers
stay float32. The runtime computes in float32: each halved constant is read by one DEQUANTIZE.
"""

from collections import defaultdict

import numpy as np
from ai_edge_litert.schema_py_generated import (
    BuiltinOperator,
    ModelT,
    OperatorT,
    SubGraphT,
    TensorT,
    TensorType,
)

from tfscale.exporting.flatbuffer import new_tensor, operation_code, write_model
from tfscale.exporting.skeleton import read_skeleton
from tfscale.exporting.streamed import StreamedWeight

_LARGEST = float(np.finfo(np.float16).max)
_VERSION = 3
"""Version of DEQUANTIZE, from which on it reads float16."""


def in_float16(content: bytes) -> bytes:
    """Returns a float32 file with its matrices and tables in float16."""
    model = read_skeleton(content)
    halve(model)
    return write_model(model)


def halve(model: ModelT) -> None:
    """Stores constants of two axes or more in float16, in a model.

    Those that are written row by row are stored as their formats say. What float16 cannot hold,
    such as a mask of -1e9, stays float32.
    """
    readers: dict[int, list[tuple[SubGraphT, int]]] = defaultdict(list)
    for subgraph in model.subgraphs:
        for place, tensor in enumerate(subgraph.tensors):
            if model.buffers[tensor.buffer].data is not None:
                readers[tensor.buffer].append((subgraph, place))
    chosen = {
        buffer: places
        for buffer, places in readers.items()
        if all(_is_matrix(subgraph.tensors[place]) for subgraph, place in places)
        and _halved(model, buffer)
    }
    if not chosen:
        return
    code = operation_code(model, BuiltinOperator.DEQUANTIZE, _VERSION)
    for buffer, places in chosen.items():
        for subgraph, place in places:
            tensor = subgraph.tensors[place]
            name = (tensor.name or b"constant") + b"/float16"
            shape = list(tensor.shape)
            half = new_tensor(model, subgraph, TensorType.FLOAT16, shape, name, buffer)
            tensor.buffer = 0
            operator = OperatorT()
            operator.opcodeIndex, operator.inputs, operator.outputs = code, [half], [place]
            subgraph.operators.insert(0, operator)


def _is_matrix(tensor: TensorT) -> bool:
    return tensor.type == TensorType.FLOAT32 and sum(size > 1 for size in tensor.shape) > 1


def _halved(model: ModelT, buffer: int) -> bool:
    """Halves the numbers of a buffer; returns False, and leaves them, where they must stay."""
    data = model.buffers[buffer].data
    if isinstance(data, StreamedWeight):
        return data.form.bits == 16
    values = np.frombuffer(bytes(data), np.float32)
    if not np.abs(values).max() <= _LARGEST:
        return False
    model.buffers[buffer].data = values.astype(np.float16).view(np.uint8)
    return True
