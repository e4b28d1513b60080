"""A network's .tflite file made without its weights, which are put in while the file is written.

The converter of TensorFlow holds each weight several times. Here it gets a graph in which matrices
and tables are inputs, of which it knows the shape alone; afterwards each input becomes a constant
of the file.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.schema_py_generated import (
    BlockwiseQuantizationT,
    BufferT,
    ModelT,
    QuantizationDetails,
    QuantizationParametersT,
    SubGraphT,
    TensorT,
    TensorType,
)
from ai_edge_litert.tools import flatbuffer_utils

from tfscale.exporting.flatbuffer import new_tensor, operation_name
from tfscale.exporting.recipe_formats import float_formats, is_in_rows
from tfscale.exporting.streamed import StreamedWeight
from tfscale.models.recipe import WeightFormat
from tfscale.models.weight_formats import weight_formats

_PREFIX = "streamed_weight_"
_READS_ROWS = {("GATHER", 0), ("EMBEDDING_LOOKUP", 1), ("FULLY_CONNECTED", 1)}
"""Operations, and the place of the input, that read a matrix as the file stores it."""


def streamed_formats(network: keras.Model, quantize: str) -> dict[str, WeightFormat]:
    """Returns how the file of a recipe stores each matrix that is written by rows, by its path.

    Empty where the recipe has another format for one of them, or rounds a weight that is none of
    them, such as a convolution's.
    """
    chosen = weight_formats(network, quantize)
    floats = float_formats(network, quantize)
    shapes = {weight.path: tuple(weight.shape) for weight in network.weights}
    in_rows = {
        path: form
        for path, form in weight_formats(network, "int8").items()
        if form.bits == 8 and isinstance(form.axis, int) and not form.gates
    }
    for path, form in chosen.items():
        if path in in_rows:
            written = is_in_rows(form, in_rows[path], shapes[path], floats[path])
        else:
            written = form == floats[path]
        if not written:
            return {}
    return {
        path: dataclasses.replace(chosen[path], axis=form.axis) for path, form in in_rows.items()
    }


class Placeholders:
    """Weights that stand as inputs in the functions of a file.

    Args:
        weights: matrices and tables.
        formats: of each, by its path; the axis says which are stored transposed.
    """

    def __init__(self, weights: Sequence[keras.Variable], formats: Mapping[str, WeightFormat]):
        self.weights = list(weights)
        self.formats = [formats[weight.path] for weight in weights]

    def specs(self) -> dict[str, tf.TensorSpec]:
        """Returns the inputs that a function takes besides its own."""
        specs = {}
        for index, (weight, form) in enumerate(zip(self.weights, self.formats, strict=True)):
            shape = tuple(weight.shape)
            name = f"{_PREFIX}{index}"
            specs[name] = tf.TensorSpec(shape[::-1] if form.axis == 0 else shape, name=name)
        return specs

    def scope(self, inputs: dict[str, tf.Tensor]) -> keras.StatelessScope:
        """Returns a scope in which the variables have the values of inputs, which are taken out of
        `inputs`."""
        mapping = []
        for index, (weight, form) in enumerate(zip(self.weights, self.formats, strict=True)):
            given = inputs.pop(f"{_PREFIX}{index}")
            mapping.append((weight, tf.transpose(given) if form.axis == 0 else given))
        return keras.StatelessScope(state_mapping=mapping)

    def put_in(self, model: ModelT) -> bool:
        """Makes the inputs of a converted model constants, float32 or as the formats say.

        Returns:
            False, and then the model is not usable, if an operation reads one of them in another
            way than by rows.
        """
        first = len(model.buffers)
        for weight, form in zip(self.weights, self.formats, strict=True):
            model.buffers.append(BufferT())
            model.buffers[-1].data = StreamedWeight(weight, form)
        for signature in model.signatureDefs:
            subgraph = model.subgraphs[signature.subgraphIndex]
            kept = []
            for given in signature.inputs:
                name = given.name.decode()
                if not name.startswith(_PREFIX):
                    kept.append(given)
                    continue
                index = int(name.removeprefix(_PREFIX))
                if not _read_by_rows(model, subgraph, given.tensorIndex):
                    return False
                tensor = subgraph.tensors[given.tensorIndex]
                if any(given.tensorIndex in operator.inputs for operator in subgraph.operators):
                    tensor.buffer = first + index
                else:
                    # A prompt does without the last layer's products. litert-quantizer would
                    # round the buffer and not a tensor that nothing reads.
                    tensor.buffer, tensor.shape = 0, [1]
                # litert-quantizer wants names that are the only ones in the file.
                tensor.name = signature.signatureKey + b"/" + self.weights[index].path.encode()
                subgraph.inputs = [place for place in subgraph.inputs if place != given.tensorIndex]
            signature.inputs = kept
        return True


def read_skeleton(content: bytes) -> ModelT:
    """Returns the model of a converted file."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def _read_by_rows(model: ModelT, subgraph: SubGraphT, tensor: int) -> bool:
    if tensor in subgraph.outputs:
        return False
    for operator in subgraph.operators:
        for place, given in enumerate(operator.inputs):
            if given != tensor:
                continue
            if (operation_name(model, operator.opcodeIndex), place) not in _READS_ROWS:
                return False
            options = operator.builtinOptions
            if getattr(options, "axis", 0) or getattr(options, "batchDims", 0):
                return False
    return True


def declare_formats(model: ModelT) -> None:
    """Gives the tensors of streamed weights the type and the scales that their formats say.

    Scales of int8 stand in the tensor's own description, those of int4 in a constant.
    """
    blocks: dict[int, int] = {}
    rows: dict[int, QuantizationParametersT] = {}
    for subgraph in model.subgraphs:
        for tensor in list(subgraph.tensors):
            data = model.buffers[tensor.buffer].data
            if not isinstance(data, StreamedWeight):
                continue
            if data.form.bits == 8:
                if tensor.buffer not in rows:
                    rows[tensor.buffer] = _row_parameters(data.scales())
                tensor.type, tensor.quantization = TensorType.INT8, rows[tensor.buffer]
            elif data.form.bits == 4:
                if tensor.buffer not in blocks:
                    blocks[tensor.buffer] = len(model.buffers)
                    model.buffers.append(BufferT())
                    model.buffers[-1].data = data.scales().reshape(-1).view(np.uint8)
                _declare_blocks(model, subgraph, tensor, data, blocks[tensor.buffer])


def _row_parameters(scales: np.ndarray) -> QuantizationParametersT:
    parameters = QuantizationParametersT()
    parameters.scale, parameters.zeroPoint = scales, np.zeros(len(scales), np.int64)
    parameters.quantizedDimension = 0
    return parameters


def _declare_blocks(
    model: ModelT, subgraph: SubGraphT, tensor: TensorT, data: StreamedWeight, buffer: int
) -> None:
    count, width = data.shape
    shape = [count, width // data.form.block]
    details = BlockwiseQuantizationT()
    details.scales = new_tensor(model, subgraph, TensorType.FLOAT16, shape, b"scales", buffer)
    details.zeroPoints, details.blockSize = -1, data.form.block
    parameters = QuantizationParametersT()
    parameters.detailsType = QuantizationDetails.BlockwiseQuantization
    parameters.details, parameters.quantizedDimension = details, 0
    tensor.type, tensor.quantization = TensorType.INT4, parameters
