"""Checks the structure of a .tflite file before LiteRT runs it, whose C++ code believes what the
file says.

The runtime itself checks that the flatbuffer is whole: no offset leads outside. It does not check
that the parts agree: that a tensor's buffer is as large as its shape, that an operation's inputs
exist, that a signature names tensors that are there. A file in which they don't agree reads memory
that is not its own, and may kill the process.
"""

import math
import mmap
import os
from collections.abc import Iterator

from ai_edge_litert import schema_py_generated as schema

from tfscale.device.operations import OPERATIONS, integers, operation_fault
from tfscale.errors import ExportError

_LARGEST_TENSOR = 1 << 36
"""Bytes that one tensor may take, 64 GiB: what no device allocates need not be tried."""
_MOST_PARTS = 5_000_000
"""Tensors and operations that are looked at; one part that is named often makes a small file
endless."""
_TYPES = schema.TensorType
_BITS = {
    _TYPES.FLOAT32: 32,
    _TYPES.FLOAT16: 16,
    _TYPES.INT32: 32,
    _TYPES.UINT8: 8,
    _TYPES.INT64: 64,
    _TYPES.BOOL: 8,
    _TYPES.INT16: 16,
    _TYPES.COMPLEX64: 64,
    _TYPES.INT8: 8,
    _TYPES.FLOAT64: 64,
    _TYPES.COMPLEX128: 128,
    _TYPES.UINT64: 64,
    _TYPES.UINT32: 32,
    _TYPES.UINT16: 16,
    _TYPES.INT4: 4,
    _TYPES.BFLOAT16: 16,
    _TYPES.INT2: 2,
}
"""Bits of a value of each type; those of text and handles have no size of their own."""
_SIZELESS = {_TYPES.STRING, _TYPES.RESOURCE, _TYPES.VARIANT}


def check_structure(path: str, begin: int = 0, end: int | None = None) -> None:
    """Checks that the parts of a .tflite file agree with each other.

    Args:
        path: the file.
        begin: where the model begins in it, in bytes.
        end: where it ends; None is the end of the file.

    Raises:
        ExportError: they do not agree, or cannot be read; the message names the first part that is
            wrong.

    Example:
        check_structure("export/model.tflite")
    """
    if not os.path.getsize(path):
        raise ExportError(f"{path} is empty")
    with open(path, "rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[begin:end]
    try:
        fault = next(_Structure(content).faults(), None)
    except Exception as error:  # Whatever reading at a wrong place raises.
        raise ExportError(
            f"{path} is truncated or damaged: its structure cannot be read"
        ) from error
    if fault:
        raise ExportError(f"{path} is damaged or was made to do harm: {fault}")


class _Structure:
    """The statements of a file about itself.

    Args:
        content: its bytes.
    """

    def __init__(self, content: memoryview):
        self._content = content
        self._model = schema.Model.GetRootAs(content, 0)
        self._parts = 0
        self._sizes: list[int] = []
        """Bytes of each buffer."""

    def faults(self) -> Iterator[str]:
        """Yields in words what does not agree."""
        model = self._model
        for index in range(model.BuffersLength()):
            buffer = model.Buffers(index)
            # An offset of 0 or 1 says that the bytes are in the flatbuffer itself.
            outside = buffer.Offset() > 1
            if outside and buffer.Offset() + buffer.Size() > len(self._content):
                yield f"buffer {index} ends behind the file"
            self._sizes.append(buffer.Size() if outside else buffer.DataLength())
        for index in range(model.SubgraphsLength()):
            graph = model.Subgraphs(index)
            self._parts += graph.TensorsLength() + graph.OperatorsLength()
            if self._parts > _MOST_PARTS:
                yield f"it has more than {_MOST_PARTS:,} tensors and operations"
                return
            for fault in (*self._tensor_faults(graph), *self._operator_faults(graph)):
                yield f"subgraph {index}, {fault}"
        yield from self._signature_faults()

    def _tensor_faults(self, graph: schema.SubGraph) -> Iterator[str]:
        count = graph.TensorsLength()
        for index in range(count):
            tensor = graph.Tensors(index)
            if tensor.Buffer() >= len(self._sizes):
                yield f"tensor {index}: there is no buffer {tensor.Buffer()}"
                return
            shape = [int(size) for size in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []
            stored = self._sizes[tensor.Buffer()]
            if fault := _size_fault(tensor, shape, stored) or _quantization_fault(
                tensor, shape, count
            ):
                yield f"tensor {index}: {fault}"

    def _operator_faults(self, graph: schema.SubGraph) -> Iterator[str]:
        types = [graph.Tensors(index).Type() for index in range(graph.TensorsLength())]
        for name in ("Inputs", "Outputs"):
            if not all(0 <= tensor < len(types) for tensor in integers(graph, name)):
                yield f"{name.lower()}: a tensor that does not exist"
        for index in range(graph.OperatorsLength()):
            operator = graph.Operators(index)
            if operator.OpcodeIndex() >= self._model.OperatorCodesLength():
                yield f"operation {index}: there is no code {operator.OpcodeIndex()}"
                return
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            name = OPERATIONS.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "")
            if fault := operation_fault(name, operator, types, self._model.SubgraphsLength()):
                yield f"operation {index} ({name or 'unknown'}): {fault}"

    def _signature_faults(self) -> Iterator[str]:
        model = self._model
        for index in range(model.SignatureDefsLength()):
            signature = model.SignatureDefs(index)
            if signature.SubgraphIndex() >= model.SubgraphsLength():
                yield f"signature {index}: there is no subgraph {signature.SubgraphIndex()}"
                return
            graph = model.Subgraphs(signature.SubgraphIndex())
            inputs = {
                signature.Inputs(place).TensorIndex() for place in range(signature.InputsLength())
            }
            outputs = {
                signature.Outputs(place).TensorIndex() for place in range(signature.OutputsLength())
            }
            # Of other tensors the runtime may use the memory again.
            if not (
                inputs <= set(integers(graph, "Inputs"))
                and outputs <= set(integers(graph, "Outputs"))
            ):
                yield f"signature {index} names a tensor that is no input or output of its subgraph"


def _size_fault(tensor: schema.Tensor, shape: list[int], stored: int) -> str | None:
    kind = tensor.Type()
    if min(shape, default=0) < 0:
        return f"shape {shape}"
    if tensor.Sparsity() is not None:
        return "it is sparse, which no file of tfscale is"
    if kind in _SIZELESS:
        return "text and handles are no constants of a language model" if stored else None
    if kind not in _BITS:
        return f"unknown type {kind}"
    needed = -(-math.prod(shape) * _BITS[kind] // 8)
    if needed > _LARGEST_TENSOR:
        return f"shape {shape} takes {needed:,} bytes"
    if stored and stored != needed:
        return f"shape {shape} takes {needed:,} bytes, and its buffer has {stored:,}"
    return None


def _quantization_fault(tensor: schema.Tensor, shape: list[int], tensors: int) -> str | None:
    quantization = tensor.Quantization()
    if quantization is None:
        return None
    if quantization.DetailsType() == schema.QuantizationDetails.BlockwiseQuantization:
        details = schema.BlockwiseQuantization()
        details.Init(quantization.Details().Bytes, quantization.Details().Pos)
        block = details.BlockSize()
        if not 0 <= details.Scales() < tensors or details.ZeroPoints() >= tensors:
            return "its scales are a tensor that does not exist"
        if len(shape) != 2 or block <= 0 or shape[-1] % block:
            return f"blocks of {block} in shape {shape}"
        return None
    scales, points = quantization.ScaleLength(), quantization.ZeroPointLength()
    if scales and points not in (0, scales):
        return f"{scales} scales and {points} zero points"
    dimension = quantization.QuantizedDimension()
    if scales > 1 and not (0 <= dimension < len(shape) and shape[dimension] == scales):
        return f"{scales} scales along dimension {dimension} of shape {shape}"
    return None
