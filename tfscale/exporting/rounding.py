"""Rounds the weights of a float .tflite file: litert-quantizer's recipes, and what they leave out.

The quantizer knows neither tables that are read by GATHER nor the fused LSTM. Shapes: V rows of a
table, D columns, N ids.
"""

import re
from collections import Counter
from collections.abc import Hashable, Mapping

import flatbuffers
import numpy as np
from ai_edge_litert.schema_py_generated import (
    BlockwiseQuantizationT,
    BufferT,
    BuiltinOperator,
    BuiltinOptions,
    ModelT,
    OperatorT,
    QuantizationParametersT,
    ReshapeOptionsT,
    SubGraphT,
    TensorType,
)
from ai_edge_litert.tools import flatbuffer_utils

from tfscale.exporting.activations import split_activations
from tfscale.exporting.flatbuffer import new_tensor, operation_code, operation_name, write_model
from tfscale.models.recipe import BLOCKS, block_of, recipe
from tfscale.models.weight_formats import INT4_LARGEST, SMALLEST_SCALE

_LSTM_MATRICES = range(1, 9)
"""Places of the matrices among the inputs of a fused LSTM: of the input and of the state, by
gate."""
_LARGEST = 127


def round_weights(content: bytes, quantize: str) -> bytes:
    """Returns the file with its weights rounded as `tfscale.models.weight_formats` says.

    Args:
        content: a float .tflite file.
        quantize: name of a recipe that rounds.
    """
    from litert_quantizer import quantizer
    from litert_quantizer import recipe as quantizer_recipe
    from litert_quantizer.qtyping import QuantGranularity, TFLOperationName

    in_int4 = recipe(quantize).blocks_in
    content = look_up_embeddings(content)
    worker = quantizer.Quantizer(mark_products(content, in_int4) if in_int4 else content)
    worker.load_quantization_recipe(quantizer_recipe.dynamic_wi8_afp32())
    for block in BLOCKS:
        for operation, names in in_int4.items():
            worker.add_dynamic_config(
                regex=f"^blocks{block}/{names}",
                operation_name=TFLOperationName(operation),
                num_bits=4,
                granularity=QuantGranularity(f"BLOCKWISE_{block}"),
            )
    with np.errstate(invalid="ignore"):  # Blocks of zeros are divided by their scale of zero.
        result = worker.quantize(enable_progress_bar=False, enable_progress_report=False)
    # The quantizer warns of what is rounded already, so that this comes after it.
    content = round_lstm(bytes(result.quantized_model))
    if in_int4:
        content = split_activations(raise_zero_scales(content))
    return share_quantization_parameters(content)


def look_up_embeddings(content: bytes) -> bytes:
    """Makes each GATHER of rows of a constant table an EMBEDDING_LOOKUP.

    The two compute the same; but the quantizer leaves the table of a GATHER in float32, and then
    stores a table that is also the output projection twice. Ids of two or more dimensions are laid
    out in one for the lookup.

    Args:
        content: a float .tflite file.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    look_up_rows(model)
    return write_model(model)


def look_up_rows(model: ModelT) -> None:
    """Makes each GATHER of rows of a constant table an EMBEDDING_LOOKUP, in a model."""
    lookup = operation_code(model, BuiltinOperator.EMBEDDING_LOOKUP)
    for subgraph in model.subgraphs:
        operators = []
        for operator in subgraph.operators:
            operators.append(operator)
            if (
                operation_name(model, operator.opcodeIndex) != "GATHER"
                or operator.builtinOptions.batchDims
            ):
                continue
            table, ids = (subgraph.tensors[index] for index in operator.inputs[:2])
            is_table = model.buffers[table.buffer].data is not None and len(table.shape) == 2
            if not is_table or operator.builtinOptions.axis or table.type != TensorType.FLOAT32:
                continue
            given, count = operator.inputs[1], int(np.prod(ids.shape))
            result = operator.outputs[0]
            shape = [int(size) for size in subgraph.tensors[result].shape]
            operator.opcodeIndex = lookup
            operator.builtinOptionsType, operator.builtinOptions = 0, None
            if len(ids.shape) == 1:
                operator.inputs = [given, operator.inputs[0]]
                continue
            flat = new_tensor(model, subgraph, ids.type, [count], b"ids")
            rows = new_tensor(model, subgraph, TensorType.FLOAT32, [count, shape[-1]], b"rows")
            operator.inputs, operator.outputs = [flat, operator.inputs[0]], [rows]
            operators.insert(-1, _reshape(model, subgraph, given, flat, [count]))
            operators.append(_reshape(model, subgraph, rows, result, shape))
        subgraph.operators = operators


def round_lstm(content: bytes) -> bytes:
    """Rounds the matrices of fused LSTM operations to int8, each with one scale.

    The operation takes no more.

    Args:
        content: a float .tflite file.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    users = Counter(tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors)
    changed = False
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            if operation_name(model, operator.opcodeIndex) != "UNIDIRECTIONAL_SEQUENCE_LSTM":
                continue
            for index in [operator.inputs[place] for place in _LSTM_MATRICES]:
                tensor = subgraph.tensors[index]
                if index < 0 or tensor.type != TensorType.FLOAT32:
                    continue  # A gate that is missing, or a matrix that is rounded already.
                values = np.frombuffer(model.buffers[tensor.buffer].data, np.float32)
                scale = max(float(np.abs(values).max()), 1e-9) / _LARGEST
                rounded = np.clip(np.round(values / np.float32(scale)), -_LARGEST, _LARGEST).astype(
                    np.int8
                )
                if users[tensor.buffer] > 1:  # Another tensor has the same numbers.
                    users[tensor.buffer] -= 1
                    tensor.buffer = len(model.buffers)
                    model.buffers.append(BufferT())
                model.buffers[tensor.buffer].data = rounded.view(np.uint8)
                tensor.type, tensor.quantization = TensorType.INT8, QuantizationParametersT()
                tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
                changed = True
    return write_model(model) if changed else content


def _reshape(
    model: ModelT, subgraph: SubGraphT, given: int, result: int, shape: list[int]
) -> OperatorT:
    model.buffers.append(BufferT())
    model.buffers[-1].data = np.array(shape, np.int32).view(np.uint8)
    buffer = len(model.buffers) - 1
    wanted = new_tensor(model, subgraph, TensorType.INT32, [len(shape)], b"shape", buffer)
    operator = OperatorT()
    operator.opcodeIndex = operation_code(model, BuiltinOperator.RESHAPE)
    operator.inputs, operator.outputs = [given, wanted], [result]
    operator.builtinOptionsType, operator.builtinOptions = (
        BuiltinOptions.ReshapeOptions,
        ReshapeOptionsT(),
    )
    operator.builtinOptions.newShape = shape
    return operator


def mark_products(content: bytes, in_int4: Mapping[str, str]) -> bytes:
    """Names the result of each product with a constant matrix by how the matrix may be quantized.

    The quantizer chooses by the names of results. Those of lookups and products of a table become
    `blocks64/table/...`, those of products of other matrices `blocks64/matrix/...`; with the block
    size that the rows are whole multiples of, or `blocks0`. Callers go by the names of signatures,
    which stay. Of matrices in int4, blocks too weak for it become zero.

    Args:
        content: a float file out of `look_up_embeddings`.
        in_int4: as `Recipe.blocks_in`.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    for subgraph in model.subgraphs:
        weights = []
        for operator in subgraph.operators:
            if operation_name(model, operator.opcodeIndex) in (
                "EMBEDDING_LOOKUP",
                "FULLY_CONNECTED",
            ):
                weight = subgraph.tensors[operator.inputs[1]]
                if model.buffers[weight.buffer].data is not None:
                    weights.append((operator, weight))
        looked_up = {
            weight.buffer
            for operator, weight in weights
            if operation_name(model, operator.opcodeIndex) == "EMBEDDING_LOOKUP"
        }
        for operator, weight in weights:
            block = block_of(int(weight.shape[-1]))
            kind = "table" if weight.buffer in looked_up else "matrix"
            result = subgraph.tensors[operator.outputs[0]]
            name = f"{kind}/{result.name.decode()}"
            names = in_int4.get(operation_name(model, operator.opcodeIndex))
            if block and names is not None and re.match(names, name):
                _clear_weak_blocks(model.buffers[weight.buffer], block)
            result.name = f"blocks{block}/{name}".encode()
    return write_model(model)


def share_quantization_parameters(content: bytes) -> bytes:
    """Stores the scales of a weight once, where each signature holds a copy of its own.

    A scale and a zero point take 12 bytes per row of a matrix and signature; in a small model of
    three signatures that is a fifth of the int8 file.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    share_parameters(model)
    return write_model(model)


def share_parameters(model: ModelT) -> None:
    """Stores the scales of a weight once; see `share_quantization_parameters`."""
    shared: dict[tuple, _PackedOnce] = {}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            parameters = tensor.quantization
            if parameters is None or parameters.scale is None:
                continue
            key = tuple(_hashable(value) for _, value in sorted(vars(parameters).items()))
            tensor.quantization = shared.setdefault(key, _PackedOnce(parameters))


def _clear_weak_blocks(buffer: BufferT, block: int) -> None:
    """Makes blocks zero whose scale in int4 would not be a normal float16.

    The runtime would refuse the whole file.
    """
    blocks = np.frombuffer(buffer.data, np.float32).reshape(-1, block)
    weak = np.abs(blocks).max(axis=1) / INT4_LARGEST < SMALLEST_SCALE
    if weak.any():
        buffer.data = np.where(weak[:, None], np.float32(0), blocks).reshape(-1).view(np.uint8)


def raise_zero_scales(content: bytes) -> bytes:
    """Gives blocks of zeros the smallest scale that the runtime takes; the quantizer writes 0."""
    model = flatbuffer_utils.read_model_from_bytearray(content)
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            details = getattr(tensor.quantization, "details", None)
            if isinstance(details, BlockwiseQuantizationT):
                buffer = model.buffers[subgraph.tensors[details.scales].buffer]
                scales = np.frombuffer(buffer.data, np.float16)
                buffer.data = np.maximum(scales, np.float16(SMALLEST_SCALE)).view(np.uint8)
    return write_model(model)


class _PackedOnce:
    """A part of a flatbuffer that several others point to."""

    def __init__(self, part: QuantizationParametersT):
        self._part = part
        self._offset: int | None = None

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - the schema's name
        if self._offset is None:
            self._offset = self._part.Pack(builder)
        return self._offset


def _hashable(value: object) -> Hashable:
    if value is None or isinstance(value, int):
        return value
    if hasattr(value, "tolist"):
        return tuple(value.tolist())
    if isinstance(value, list):
        return tuple(value)
    return id(value)
