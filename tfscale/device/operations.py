"""The inputs and outputs of LiteRT's operations, as far as its kernels rely on them unchecked.

Operations that are not named here are left to the runtime.
"""

import math
from collections.abc import Sequence

from ai_edge_litert import schema_py_generated as schema

OPERATIONS = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
"""Code -> name."""
_UNARY = (
    "ABS CEIL COS ELU EXP FLOOR GELU HARD_SWISH L2_NORMALIZATION LEAKY_RELU LOGICAL_NOT LOGISTIC"
    " LOG LOG_SOFTMAX NEG RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SIGN SIN SOFTMAX SQRT"
    " SQUARE SQUEEZE TANH ZEROS_LIKE"
).split()
_BINARY = (
    "ADD ATAN2 DIV FLOOR_DIV FLOOR_MOD LOGICAL_AND LOGICAL_OR MAXIMUM MINIMUM MUL POW PRELU"
    " SQUARED_DIFFERENCE SUB"
).split()
_REDUCING = "MEAN SUM REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD".split()
_COMPARING = "EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL NOT_EQUAL".split()
_MOVING = "BROADCAST_TO CUMSUM EXPAND_DIMS GATHER GATHER_ND PAD REVERSE_V2 TILE TRANSPOSE".split()
_ARITY: dict[str, tuple[int, float, int]] = {
    **dict.fromkeys((*_UNARY, "CAST", "DEQUANTIZE", "QUANTIZE", "RANK", "SHAPE"), (1, 1, 1)),
    **dict.fromkeys((*_BINARY, *_REDUCING, *_COMPARING, *_MOVING), (2, 2, 1)),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN", "BATCH_MATMUL", "EMBEDDING_LOOKUP", "FILL"), (2, 2, 1)),
    **dict.fromkeys(("DYNAMIC_UPDATE_SLICE", "PADV2", "RANGE", "SCATTER_ND"), (3, 3, 1)),
    **dict.fromkeys(("SELECT", "SELECT_V2", "SLICE"), (3, 3, 1)),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), (2, 3, 1)),
    **dict.fromkeys(("ONE_HOT", "STRIDED_SLICE"), (4, 4, 1)),
    **dict.fromkeys(("CONCATENATION", "PACK"), (1, math.inf, 1)),
    "RESHAPE": (1, 2, 1),
    "TOPK_V2": (2, 2, 2),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (20, 24, 1),
}
"""Fewest and most inputs, and the number of outputs."""
_INPUTS = {"SPLIT": 2, "SPLIT_V": 3, "UNPACK": 1}
"""Numbers of inputs of operations with any number of outputs."""
_SAME_TYPE: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(_UNARY, (0,)),
    **dict.fromkeys(_BINARY, (0, 1)),
    **dict.fromkeys(_REDUCING, (0,)),
    **dict.fromkeys(_MOVING, (0,)),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE", "RESHAPE", "PADV2", "UNPACK"), (0,)),
    **dict.fromkeys(("CONCATENATION", "PACK"), None),
    "DYNAMIC_UPDATE_SLICE": (0, 1),
    "SELECT": (1, 2),
    "SELECT_V2": (1, 2),
    "SPLIT": (1,),
    "SPLIT_V": (0,),
    "FILL": (1,),
    "FULLY_CONNECTED": (0,),
}
"""Inputs whose type is that of every output; None is all of them."""
_OPTIONAL_FROM = {
    "FULLY_CONNECTED": 2,
    "CONV_2D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "CONV_3D": 2,
    "TRANSPOSE_CONV": 3,
    "CONV_3D_TRANSPOSE": 3,
    "LSTM": 0,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 0,
    "BIDIRECTIONAL_SEQUENCE_LSTM": 0,
    "SVDF": 0,
    "BIDIRECTIONAL_SEQUENCE_RNN": 0,
    "STABLEHLO_COMPOSITE": 0,
}
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


def operation_fault(
    name: str, operator: schema.Operator, types: Sequence[int], graphs: int
) -> str | None:
    """Returns what is wrong with an operation, in words; None if nothing is.

    Args:
        name: its name, such as "FULLY_CONNECTED".
        operator: the `Operator` of the file.
        types: type of each tensor of its subgraph.
        graphs: number of subgraphs of the file.
    """
    inputs, outputs = integers(operator, "Inputs"), integers(operator, "Outputs")
    optional = _OPTIONAL_FROM.get(name, math.inf)
    for place, tensor in enumerate(inputs):
        if not (0 <= tensor < len(types) or (tensor == -1 and place >= optional)):
            return f"input {place} is tensor {tensor} of {len(types)}"
    for tensor in (*outputs, *integers(operator, "Intermediates")):
        if not 0 <= tensor < len(types):
            return f"it writes tensor {tensor} of {len(types)}"
    return (
        _arity_fault(name, len(inputs), len(outputs))
        or _type_fault(name, inputs, outputs, types)
        or _option_fault(name, operator, {"inputs": len(inputs), "outputs": len(outputs)}, graphs)
    )


def integers(table: schema.Operator | schema.SubGraph, name: str) -> list[int]:
    """Returns a vector of integers of a part of the file; it is empty where the file has none."""
    values = getattr(table, f"{name}AsNumpy")()
    return [] if isinstance(values, int) else [int(value) for value in values]


def _arity_fault(name: str, inputs: int, outputs: int) -> str | None:
    fewest, most, given = _ARITY.get(
        name, (_INPUTS.get(name, 0), _INPUTS.get(name, math.inf), outputs)
    )
    if fewest <= inputs <= most and outputs == given:
        return None
    return f"it has {inputs} inputs and {outputs} outputs"


def _type_fault(
    name: str, inputs: list[int], outputs: list[int], types: Sequence[int]
) -> str | None:
    if name not in _SAME_TYPE:
        return None
    places = _SAME_TYPE[name]
    chosen = inputs if places is None else [inputs[place] for place in places]
    if len({types[tensor] for tensor in (*chosen, *outputs)}) > 1:
        return "its inputs and outputs have different types"
    return None


def _option_fault(
    name: str, operator: schema.Operator, lengths: dict[str, int], graphs: int
) -> str | None:
    if name in _COUNTED:
        kind, field, what = _COUNTED[name]
        options = _options(operator, kind)
        said = getattr(options, field)() if options else 0
        if said != lengths[what]:
            return f"{said} {what} are announced, and it has {lengths[what]}"
    if name in _CALLS:
        kind, *fields = _CALLS[name]
        options = _options(operator, kind)
        if not options or not all(0 <= getattr(options, field)() < graphs for field in fields):
            return "it runs a subgraph that does not exist"
    return None


def _options(operator: schema.Operator, kind: str) -> object:
    """Returns the options of an operation if they are of this kind; None otherwise."""
    if (
        operator.BuiltinOptionsType() != getattr(schema.BuiltinOptions, kind)
        or operator.BuiltinOptions() is None
    ):
        return None
    options = getattr(schema, kind)()
    options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    return options
