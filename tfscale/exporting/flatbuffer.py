"""Reads and writes .tflite files: which operations they hold, and what no option of the converter
changes.

The schema and its reader are those of ai-edge-litert.
"""

import io
from collections import Counter
from typing import IO

import numpy as np
from ai_edge_litert.schema_py_generated import (
    BlockwiseQuantizationT,
    Model,
    ModelT,
    OperatorCodeT,
    SubGraphT,
    TensorT,
    TensorType,
)
from ai_edge_litert.tools import flatbuffer_utils

from tfscale.errors import ExportError
from tfscale.exporting.streamed import StreamedWeight

_ALIGNMENT = 16
_OUTSIDE = 1024
"""Bytes from which on a constant is stored after the flatbuffer, where it is aligned for SIMD
reads."""


def operations(content: bytes) -> dict[str, dict[str, int]]:
    """Counts the operations of a .tflite file.

    Args:
        content: the file.

    Returns:
        Per subgraph, in the order of the file, the number of operations of each name; a custom
        operation (those of TensorFlow begin with "Flex") goes by its own name.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    counts = {}
    for index, subgraph in enumerate(model.subgraphs):
        names = (operation_name(model, operator.opcodeIndex) for operator in subgraph.operators)
        name = (subgraph.name or b"").decode()
        counts[name if name and name not in counts else f"{name}_{index}"] = dict(
            sorted(Counter(names).items())
        )
    return counts


def refuse_custom_operations(content: bytes) -> None:
    """Checks that a stock runtime can run the file.

    Raises:
        ExportError: it needs TensorFlow's own operations ("Flex"), which the LiteRT runtime does
            not carry, or other custom ones.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    custom = sorted({code.customCode.decode() for code in model.operatorCodes if code.customCode})
    if custom:
        raise ExportError(
            f"the file would need {', '.join(custom)}, which the LiteRT runtime does not have; "
            "write the network's cached_step with operations that TFLite has built in"
        )


def unrounded_bytes(content: bytes) -> int:
    """Returns the bytes of large constants that no int8 or int4 tensor reads: biases, masks,
    positions."""
    model = flatbuffer_utils.read_model_from_bytearray(content)
    rounded = set()
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            if tensor.type in (TensorType.INT8, TensorType.INT4):
                rounded.add(tensor.buffer)
                details = getattr(tensor.quantization, "details", None)
                if isinstance(details, BlockwiseQuantizationT):
                    rounded.add(subgraph.tensors[details.scales].buffer)
    sizes = [
        0 if buffer.data is None or index in rounded else len(buffer.data)
        for index, buffer in enumerate(model.buffers)
    ]
    return sum(size for size in sizes if size >= _OUTSIDE)


def unclip_lstm(content: bytes) -> bytes:
    """Takes the bounds off the cell state of fused LSTM operations.

    The converter writes -10 to 10 into each, and says nothing: over a long run of equal tokens,
    such as padding, the state of the Keras layer grows beyond that and the file's does not.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    changed = False
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            options = operator.builtinOptions
            if getattr(options, "cellClip", 0):
                options.cellClip, changed = 0.0, True
    return write_model(model) if changed else content


def operation_name(model: ModelT, index: int) -> str:
    """Returns the name of an operation code of a file, as `operations` counts it."""
    code = model.operatorCodes[index]
    if code.customCode:
        return code.customCode.decode()
    return flatbuffer_utils.opcode_to_name(model, index)


def operation_code(model: ModelT, operator: int, version: int = 1) -> int:
    """Adds an operation code; returns its place."""
    code = OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def new_tensor(
    model: ModelT, subgraph: SubGraphT, kind: int, shape: list[int], name: bytes, buffer: int = 0
) -> int:
    """Adds a tensor to a subgraph, under a name that is the only one in the model; returns its
    place."""
    tensor = TensorT()
    tensor.type, tensor.shape, tensor.buffer = kind, shape, buffer
    # The signatures of a model may have as many tensors each.
    tensor.name = b"%s_%d_%d" % (name, model.subgraphs.index(subgraph), len(subgraph.tensors))
    subgraph.tensors.append(tensor)
    return len(subgraph.tensors) - 1


def write_model(model: ModelT) -> bytes:
    """Returns the file of `model`; see `write_to`."""
    file = io.BytesIO()
    write_to(file, model)
    return file.getvalue()


def write_to(file: IO[bytes], model: ModelT) -> None:
    """Writes the file of `model`, large constants behind the flatbuffer as LiteRT's own quantizer
    puts them.

    Args:
        file: is written from its beginning on.
        model: the data of its buffers may be `StreamedWeight`s, which are computed on the way.
    """
    outside = {}
    for index, buffer in enumerate(model.buffers):
        if buffer.data is None:
            continue
        if len(buffer.data) >= _OUTSIDE:
            outside[index] = buffer.data
            # Any number that is not the default adds the field.
            buffer.data, buffer.offset, buffer.size = None, 1, 1
        elif isinstance(buffer.data, StreamedWeight):
            buffer.data = np.frombuffer(b"".join(buffer.data.parts()), np.uint8)
    content = flatbuffer_utils.convert_object_to_bytearray(model)
    packed = Model.GetRootAs(content, 0)
    places = {}
    end = len(content)
    for index, data in outside.items():
        places[index] = end = -(-end // _ALIGNMENT) * _ALIGNMENT
        flatbuffer_utils.update_packed_buffer(packed.Buffers(index), offset=end, size=len(data))
        end += len(data)
    file.write(content)
    for index, data in outside.items():
        file.write(b"\0" * (places[index] - file.tell()))
        if isinstance(data, StreamedWeight):
            for part in data.parts():
                file.write(part)
        else:
            file.write(memoryview(data))
