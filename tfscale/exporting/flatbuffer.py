"""Reads and writes .tflite files: which operations they hold, and what no option of the converter
changes.

The schema and its reader are those of ai-edge-litert.
"""

import io
import mmap
from collections import Counter
from typing import IO

import numpy as np
from ai_edge_litert.schema_py_generated import (
    BlockwiseQuantization,
    BuiltinOperator,
    Model,
    ModelT,
    OperatorCode,
    OperatorCodeT,
    QuantizationDetails,
    SubGraphT,
    TensorT,
    TensorType,
)
from ai_edge_litert.tools import flatbuffer_utils

from tfscale.errors import ExportError
from tfscale.exporting.streamed import Streamed

Buffer = bytes | bytearray | mmap.mmap
_NAMES = {code: name for name, code in vars(BuiltinOperator).items() if isinstance(code, int)}
_ALIGNMENT = 16
_OUTSIDE = 1024
"""Bytes from which on a constant is stored after the flatbuffer, where it is aligned for SIMD
reads."""


def operations(content: Buffer) -> dict[str, dict[str, int]]:
    """Counts the operations of a .tflite file.

    Args:
        content: the file; one that is mapped into memory is not read as a whole.

    Returns:
        Per subgraph, in the order of the file, the number of operations of each name; a custom
        operation (those of TensorFlow begin with "Flex") goes by its own name.
    """
    model = Model.GetRootAs(content, 0)
    names = [_name(model.OperatorCodes(index)) for index in range(model.OperatorCodesLength())]
    counts: dict[str, dict[str, int]] = {}
    for index in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(index)
        found = Counter(
            names[subgraph.Operators(place).OpcodeIndex()]
            for place in range(subgraph.OperatorsLength())
        )
        name = (subgraph.Name() or b"").decode()
        key = name if name and name not in counts else f"{name}_{index}"
        counts[key] = dict(sorted(found.items()))
    return counts


def _name(code: OperatorCode) -> str:
    custom: bytes | None = code.CustomCode()
    # Older files have the code in a field of one byte.
    return (
        custom.decode() if custom else _NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    )


def refuse_custom_operations(content: Buffer) -> None:
    """Checks that a stock runtime can run the file.

    Raises:
        ExportError: it needs TensorFlow's own operations ("Flex"), which the LiteRT runtime does
            not carry, or other custom ones.
    """
    model = Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    custom = sorted({code.CustomCode().decode() for code in codes if code.CustomCode()})
    if custom:
        raise ExportError(
            f"the file would need {', '.join(custom)}, which the LiteRT runtime does not have; "
            "write the network's cached_step with operations that TFLite has built in"
        )


def unrounded_bytes(content: Buffer) -> int:
    """Returns the bytes of large constants that no int8 or int4 tensor reads: biases, masks,
    positions.

    Args:
        content: the file; one that is mapped into memory is not read as a whole.
    """
    model = Model.GetRootAs(content, 0)
    rounded = set()
    for index in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(index)
        for tensor in map(subgraph.Tensors, range(subgraph.TensorsLength())):
            if tensor.Type() not in (TensorType.INT8, TensorType.INT4):
                continue
            rounded.add(tensor.Buffer())
            quantization = tensor.Quantization()
            kind = QuantizationDetails.BlockwiseQuantization
            if quantization is not None and quantization.DetailsType() == kind:
                table, details = quantization.Details(), BlockwiseQuantization()
                details.Init(table.Bytes, table.Pos)
                rounded.add(subgraph.Tensors(details.Scales()).Buffer())
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    sizes = [
        0 if index in rounded else buffer.DataLength() or buffer.Size()
        for index, buffer in enumerate(buffers)
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
        model: the data of its buffers may be `Streamed`, which are computed on the way.
    """
    outside = {}
    for index, buffer in enumerate(model.buffers):
        if buffer.data is None:
            continue
        if len(buffer.data) >= _OUTSIDE:
            outside[index] = buffer.data
            # Any number that is not the default adds the field.
            buffer.data, buffer.offset, buffer.size = None, 1, 1
        elif isinstance(buffer.data, Streamed):
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
        if isinstance(data, Streamed):
            for part in data.parts():
                file.write(part)
        else:
            file.write(memoryview(data))
