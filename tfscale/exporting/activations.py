"""Takes activations out of products with weights in blocks of int4.

The converter makes a ReLU after a product a part of it. LiteRT's plain kernel of such a product in
int4 leaves it out and says nothing; the accelerated one (XNNPACK) does not. As an operation of its
own it is right in both.
"""

from ai_edge_litert.schema_py_generated import (
    ActivationFunctionType,
    BuiltinOperator,
    ModelT,
    OperatorT,
    TensorType,
)
from ai_edge_litert.tools import flatbuffer_utils

from tfscale.errors import ExportError
from tfscale.exporting.flatbuffer import new_tensor, operation_code, operation_name, write_model

_OPERATIONS = {
    ActivationFunctionType.RELU: BuiltinOperator.RELU,
    ActivationFunctionType.RELU6: BuiltinOperator.RELU6,
    ActivationFunctionType.RELU_N1_TO_1: BuiltinOperator.RELU_N1_TO_1,
    ActivationFunctionType.TANH: BuiltinOperator.TANH,
}
"""Activations as a part of a product -> the operations that compute them alone."""


def split_activations(content: bytes) -> bytes:
    """Makes the activation of each product with a matrix in int4 an operation of its own.

    Args:
        content: a .tflite file whose weights are rounded.

    Raises:
        ExportError: the activation is none that is an operation of its own.
    """
    model = flatbuffer_utils.read_model_from_bytearray(content)
    return write_model(model) if split_in(model) else content


def split_in(model: ModelT) -> bool:
    """Does the same in a model; returns whether anything changed."""
    changed = False
    for subgraph in model.subgraphs:
        operators = []
        for operator in subgraph.operators:
            operators.append(operator)
            if operation_name(model, operator.opcodeIndex) != "FULLY_CONNECTED":
                continue
            fused = operator.builtinOptions.fusedActivationFunction
            in_int4 = subgraph.tensors[operator.inputs[1]].type == TensorType.INT4
            if not in_int4 or fused == ActivationFunctionType.NONE:
                continue
            if fused not in _OPERATIONS:
                raise ExportError(
                    f"a product in int4 has an activation of kind {fused}; write it"
                    " as an operation after the product"
                )
            result = operator.outputs[0]
            tensor = subgraph.tensors[result]
            shape = [int(size) for size in tensor.shape]
            product = new_tensor(model, subgraph, tensor.type, shape, b"product")
            subgraph.tensors[product].shapeSignature = tensor.shapeSignature
            activation = OperatorT()
            activation.opcodeIndex = operation_code(model, _OPERATIONS[fused])
            activation.inputs, activation.outputs = [product], [result]
            operators.append(activation)
            operator.outputs = [product]
            operator.builtinOptions.fusedActivationFunction = ActivationFunctionType.NONE
            changed = True
        subgraph.operators = operators
    return changed
