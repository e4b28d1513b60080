"""Reads and rewrites .tflite files: which operations they hold, and the few changes that no converter option makes.

The schema and its reader are those of ai-edge-litert.
"""

from collections import Counter
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert.schema_py_generated import BlockwiseQuantizationT, BuiltinOperator, Model, ModelT, OperatorCodeT
from ai_edge_litert.tools import flatbuffer_utils

from tfscale.errors import ExportError
from tfscale.models.weight_formats import INT4_LARGEST, SMALLEST_SCALE, block_of

_ALIGNMENT = 16
_OUTSIDE = 1024
"""Bytes from which on a constant is stored after the flatbuffer, where it is aligned for SIMD reads."""


def operations(content: bytes) -> dict[str, dict[str, int]]:
    """Counts the operations of a .tflite file.

    Args:
        content: the file.

    Returns:
        Per subgraph, in the order of the file, the number of operations of each name; a custom operation (those of
        TensorFlow begin with "Flex") goes by its own name.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    counts = {}
    for index, subgraph in enumerate(model.subgraphs):
        names = (_operation_name(model, operator.opcodeIndex) for operator in subgraph.operators)
        name = (subgraph.name or b"").decode()
        counts[name if name and name not in counts else f"{name}_{index}"] = dict(sorted(Counter(names).items()))
    return counts


def refuse_custom_operations(content: bytes) -> None:
    """Checks that a stock runtime can run the file.

    Raises:
        ExportError: it needs TensorFlow's own operations ("Flex"), which the LiteRT runtime does not carry, or other
            custom ones.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    custom = sorted({code.customCode.decode() for code in model.operatorCodes if code.customCode})
    if custom:
        raise ExportError(
            f"the file would need {', '.join(custom)}, which the LiteRT runtime does not have; "
            "write the network's cached_step with operations that TFLite has built in"
        )


def unclip_lstm(content: bytes) -> bytes:
    """Takes the bounds off the cell state of fused LSTM operations.

    The converter writes -10 to 10 into each, and says nothing: over a long run of equal tokens, such as padding, the
    state of the Keras layer grows beyond that and the file's does not.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    found = False
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            options = operator.builtinOptions
            if getattr(options, "cellClip", 0):
                options.cellClip, found = 0.0, True
    return _write(model) if found else content


def look_up_embeddings(content: bytes) -> bytes:
    """Makes each GATHER of rows of a constant table an EMBEDDING_LOOKUP.

    The two compute the same; but the quantizer leaves the table of a GATHER in float32, and then stores a table that is
    also the output projection twice.

    Args:
        content: a float .tflite file; ids must be one-dimensional where rows are gathered.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    lookup = OperatorCodeT()
    lookup.builtinCode = lookup.deprecatedBuiltinCode = BuiltinOperator.EMBEDDING_LOOKUP
    lookup.version = 1
    model.operatorCodes.append(lookup)
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            if _operation_name(model, operator.opcodeIndex) != "GATHER":
                continue
            table, ids = (subgraph.tensors[index] for index in operator.inputs[:2])
            if model.buffers[table.buffer].data is None or len(table.shape) != 2 or len(ids.shape) != 1:
                continue
            operator.inputs = [operator.inputs[1], operator.inputs[0]]
            operator.opcodeIndex = len(model.operatorCodes) - 1
            operator.builtinOptionsType, operator.builtinOptions = 0, None
    return _write(model)


def mark_products(content: bytes) -> bytes:
    """Names the result of each product with a constant matrix by how the matrix may be quantized.

    The quantizer chooses by the names of results. Those of lookups and products of a table become `blocks64/table/...`,
    those of products of other matrices `blocks64/matrix/...`; with the block size that the rows are whole multiples
    of, or `blocks0`. Callers go by the names of signatures, which stay. Blocks too weak for int4 become zero.

    Args:
        content: a float file out of `look_up_embeddings`.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    for subgraph in model.subgraphs:
        weights = []
        for operator in subgraph.operators:
            if _operation_name(model, operator.opcodeIndex) in ("EMBEDDING_LOOKUP", "FULLY_CONNECTED"):
                weight = subgraph.tensors[operator.inputs[1]]
                if model.buffers[weight.buffer].data is not None:
                    weights.append((operator, weight))
        looked_up = {
            weight.buffer for operator, weight in weights
            if _operation_name(model, operator.opcodeIndex) == "EMBEDDING_LOOKUP"
        }  # fmt: skip
        for operator, weight in weights:
            block = block_of(int(weight.shape[-1]))
            if block:
                _clear_weak_blocks(model.buffers[weight.buffer], block)
            kind = "table" if weight.buffer in looked_up else "matrix"
            result = subgraph.tensors[operator.outputs[0]]
            result.name = f"blocks{block}/{kind}/{result.name.decode()}".encode()
    return _write(model)


def share_quantization_parameters(content: bytes) -> bytes:
    """Stores the scales of a weight once, where each signature holds its own copy of the same numbers.

    A scale and a zero point take 12 bytes per row of a matrix and signature; in a small model of three signatures that
    is a fifth of the int8 file.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    shared: dict[tuple, _PackedOnce] = {}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            parameters = tensor.quantization
            if parameters is None or parameters.scale is None:
                continue
            key = tuple(_hashable(value) for _, value in sorted(vars(parameters).items()))
            tensor.quantization = shared.setdefault(key, _PackedOnce(parameters))
    return _write(model)


def _clear_weak_blocks(buffer: Any, block: int) -> None:
    """Makes blocks zero whose scale in int4 would not be a normal float16: the runtime refuses the whole file."""
    blocks = np.frombuffer(buffer.data, np.float32).reshape(-1, block)
    weak = np.abs(blocks).max(axis=1) / INT4_LARGEST < SMALLEST_SCALE
    if weak.any():
        buffer.data = np.where(weak[:, None], np.float32(0), blocks).reshape(-1).view(np.uint8)


def raise_zero_scales(content: bytes) -> bytes:
    """Gives blocks that are all zero the smallest scale that the runtime takes; the quantizer writes 0."""
    model = flatbuffer_utils.read_model_from_bytearray(content)
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            details = getattr(tensor.quantization, "details", None)
            if isinstance(details, BlockwiseQuantizationT):
                buffer = model.buffers[subgraph.tensors[details.scales].buffer]
                scales = np.frombuffer(buffer.data, np.float16)
                buffer.data = np.maximum(scales, np.float16(SMALLEST_SCALE)).view(np.uint8)
    return _write(model)


class _PackedOnce:
    """A part of a flatbuffer that several others point to."""

    def __init__(self, part: Any):
        self._part = part
        self._offset: int | None = None

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - the schema's name
        if self._offset is None:
            self._offset = self._part.Pack(builder)
        return self._offset


def _hashable(value: Any) -> Any:
    if value is None or isinstance(value, int):
        return value
    if hasattr(value, "tolist"):
        return tuple(value.tolist())
    if isinstance(value, list):
        return tuple(value)
    return id(value)


def _operation_name(model: ModelT, index: int) -> str:
    code = model.operatorCodes[index]
    if code.customCode:
        return code.customCode.decode()
    return flatbuffer_utils.opcode_to_name(model, index)


def _write(model: ModelT) -> bytes:
    """The file of `model`, large constants behind the flatbuffer as LiteRT's own quantizer puts them."""
    outside = {}
    for index, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data) >= _OUTSIDE:
            outside[index] = bytes(buffer.data)
            # Any number that is not the default makes room for the field.
            buffer.data, buffer.offset, buffer.size = None, 1, 1
    content = bytearray(flatbuffer_utils.convert_object_to_bytearray(model))
    packed = Model.GetRootAs(content, 0)
    places = {}
    end = len(content)
    for index, data in outside.items():
        places[index] = end = -(-end // _ALIGNMENT) * _ALIGNMENT
        flatbuffer_utils.update_packed_buffer(packed.Buffers(index), offset=end, size=len(data))
        end += len(data)
    # The builder's output may not be resized while `packed` looks into it.
    content = bytearray(content).ljust(end, b"\0")
    for index, data in outside.items():
        content[places[index] : places[index] + len(data)] = data
    return bytes(content)
