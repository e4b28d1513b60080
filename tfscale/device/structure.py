"""Checks the structure of a .tflite file before LiteRT runs it, whose C++ code believes what the file says.

The runtime itself checks that the flatbuffer is whole: no offset leads outside. It does not check that the parts agree:
that a tensor's buffer is as large as its shape, that an operation's inputs exist, that a signature names tensors that
are there. A file in which they don't agree reads memory that is not its own, and may kill the process.
"""

import math
import mmap
import os
from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfscale.errors import ExportError

_LARGEST_TENSOR = 1 << 36
"""Bytes that one tensor may take, 64 GiB: what no device allocates need not be tried."""
_MOST_PARTS = 5_000_000
"""Tensors and operations that are looked at; one part that is named often makes a small file endless."""
_TYPES = schema.TensorType
_BITS = {
    _TYPES.FLOAT32: 32, _TYPES.FLOAT16: 16, _TYPES.INT32: 32, _TYPES.UINT8: 8, _TYPES.INT64: 64, _TYPES.BOOL: 8,
    _TYPES.INT16: 16, _TYPES.COMPLEX64: 64, _TYPES.INT8: 8, _TYPES.FLOAT64: 64, _TYPES.COMPLEX128: 128,
    _TYPES.UINT64: 64, _TYPES.UINT32: 32, _TYPES.UINT16: 16, _TYPES.INT4: 4, _TYPES.BFLOAT16: 16, _TYPES.INT2: 2,
}  # fmt: skip
"""Of a value of each type; those of text and handles have no size of their own."""
_SIZELESS = {_TYPES.STRING, _TYPES.RESOURCE, _TYPES.VARIANT}
_OPERATIONS = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
_OPTIONAL_FROM = {
    "FULLY_CONNECTED": 2, "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "CONV_3D": 2, "TRANSPOSE_CONV": 3,
    "CONV_3D_TRANSPOSE": 3, "LSTM": 0, "UNIDIRECTIONAL_SEQUENCE_LSTM": 0, "BIDIRECTIONAL_SEQUENCE_LSTM": 0, "SVDF": 0,
    "BIDIRECTIONAL_SEQUENCE_RNN": 0, "STABLEHLO_COMPOSITE": 0,
}  # fmt: skip
"""Operations whose inputs may be left out (-1), and from which input on."""
_COUNTED = {
    "SPLIT": ("SplitOptions", "NumSplits", "outputs"),
    "SPLIT_V": ("SplitVOptions", "NumSplits", "outputs"),
    "UNPACK": ("UnpackOptions", "Num", "outputs"),
    "PACK": ("PackOptions", "ValuesCount", "inputs"),
}
"""Operations whose options say how many outputs or inputs they have."""
_CALLS = {
    "WHILE": ("WhileOptions", "CondSubgraphIndex", "BodySubgraphIndex"),
    "IF": ("IfOptions", "ThenSubgraphIndex", "ElseSubgraphIndex"),
    "CALL_ONCE": ("CallOnceOptions", "InitSubgraphIndex"),
}
"""Operations that run other subgraphs."""


def check_structure(path: str, begin: int = 0, end: int | None = None) -> None:
    """Checks that the parts of a .tflite file agree with each other.

    Args:
        path: the file.
        begin: where the model begins in it, in bytes.
        end: where it ends; None is the end of the file.

    Raises:
        ExportError: they do not agree, or cannot be read; the message names the first part that is wrong.

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
        raise ExportError(f"{path} is truncated or damaged: its structure cannot be read") from error
    if fault:
        raise ExportError(f"{path} is damaged or was made to do harm: {fault}")


class _Structure:
    """What a file says about itself.

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
        """What does not agree, in words."""
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

    def _tensor_faults(self, graph: Any) -> Iterator[str]:
        count = graph.TensorsLength()
        for index in range(count):
            tensor = graph.Tensors(index)
            if tensor.Buffer() >= len(self._sizes):
                yield f"tensor {index}: there is no buffer {tensor.Buffer()}"
                return
            shape = [int(size) for size in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []
            stored = self._sizes[tensor.Buffer()]
            if fault := _size_fault(tensor, shape, stored) or _quantization_fault(tensor, shape, count):
                yield f"tensor {index}: {fault}"

    def _operator_faults(self, graph: Any) -> Iterator[str]:
        tensors = graph.TensorsLength()
        for name, read in (("inputs", _integers(graph, "Inputs")), ("outputs", _integers(graph, "Outputs"))):
            if not all(0 <= tensor < tensors for tensor in read):
                yield f"{name}: a tensor that does not exist"
        for index in range(graph.OperatorsLength()):
            operator = graph.Operators(index)
            if operator.OpcodeIndex() >= self._model.OperatorCodesLength():
                yield f"operation {index}: there is no code {operator.OpcodeIndex()}"
                return
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            name = _OPERATIONS.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "")
            fault = _argument_fault(name, operator, tensors) or self._option_fault(name, operator)
            if fault:
                yield f"operation {index} ({name or 'unknown'}): {fault}"

    def _option_fault(self, name: str, operator: Any) -> str | None:
        if name in _COUNTED:
            kind, field, what = _COUNTED[name]
            options = _options(operator, kind)
            said = getattr(options, field)() if options else 0
            if said != (there := getattr(operator, f"{what.capitalize()}Length")()):
                return f"{said} {what} are announced, and it has {there}"
        if name in _CALLS:
            kind, *fields = _CALLS[name]
            options = _options(operator, kind)
            graphs = self._model.SubgraphsLength()
            if not options or not all(0 <= getattr(options, field)() < graphs for field in fields):
                return "it runs a subgraph that does not exist"
        return None

    def _signature_faults(self) -> Iterator[str]:
        model = self._model
        for index in range(model.SignatureDefsLength()):
            signature = model.SignatureDefs(index)
            if signature.SubgraphIndex() >= model.SubgraphsLength():
                yield f"signature {index}: there is no subgraph {signature.SubgraphIndex()}"
                return
            tensors = model.Subgraphs(signature.SubgraphIndex()).TensorsLength()
            inputs = [signature.Inputs(place).TensorIndex() for place in range(signature.InputsLength())]
            outputs = [signature.Outputs(place).TensorIndex() for place in range(signature.OutputsLength())]
            if not all(tensor < tensors for tensor in (*inputs, *outputs)):
                yield f"signature {index} names a tensor that does not exist"


def _size_fault(tensor: Any, shape: list[int], stored: int) -> str | None:
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


def _quantization_fault(tensor: Any, shape: list[int], tensors: int) -> str | None:
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


def _argument_fault(name: str, operator: Any, tensors: int) -> str | None:
    optional = _OPTIONAL_FROM.get(name, math.inf)
    for place, tensor in enumerate(_integers(operator, "Inputs")):
        if not (0 <= tensor < tensors or (tensor == -1 and place >= optional)):
            return f"input {place} is tensor {tensor} of {tensors}"
    for kind in ("Outputs", "Intermediates"):
        if not all(0 <= tensor < tensors for tensor in _integers(operator, kind)):
            return f"{kind.lower()} that do not exist"
    return None


def _integers(table: Any, name: str) -> list[int]:
    values = getattr(table, f"{name}AsNumpy")()
    return [] if isinstance(values, int) else [int(value) for value in values]


def _options(operator: Any, kind: str) -> Any:
    """The options of an operation if they are of this kind; None otherwise."""
    if operator.BuiltinOptionsType() != getattr(schema.BuiltinOptions, kind) or operator.BuiltinOptions() is None:
        return None
    options = getattr(schema, kind)()
    options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    return options
