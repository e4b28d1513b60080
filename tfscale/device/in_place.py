"""Finds the caches of a .tflite file that its signatures may write where they read them."""

import mmap
from collections import Counter

from ai_edge_litert import schema_py_generated as schema

from tfscale.device.operations import OPERATIONS, integers


def updated_in_place(path: str) -> set[str]:
    """Returns the names of caches that every signature gives back with some rows replaced.

    Such a cache is read by one DYNAMIC_UPDATE_SLICE alone, whose result is the output of the same
    name: nothing else sees what was there before, so that one memory can be both. The runtime's
    kernel then writes the new rows and copies nothing.

    Args:
        path: a file that `check_structure` found sound.

    Example:
        updated_in_place("export/model.tflite")    # {"kv_cache_k_0", "kv_cache_v_0", ...}
    """
    with open(path, "rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    model = schema.Model.GetRootAs(content, 0)
    shared: set[str] = set()
    refused: set[str] = set()
    for place in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(place)
        graph = model.Subgraphs(signature.SubgraphIndex())
        uses, updates = _uses(model, graph)
        inputs, outputs = (
            {entry(index).Name(): entry(index).TensorIndex() for index in range(length())}
            for entry, length in (
                (signature.Inputs, signature.InputsLength),
                (signature.Outputs, signature.OutputsLength),
            )
        )
        for name in inputs.keys() & outputs.keys():
            alone = uses[inputs[name]] == 1 and updates.get(inputs[name]) == outputs[name]
            (shared if alone else refused).add(name.decode())
    return shared - refused


def _uses(model: schema.Model, graph: schema.SubGraph) -> tuple[Counter[int], dict[int, int]]:
    """Returns how often each tensor is read, and of those that rows are replaced in, the result."""
    uses: Counter[int] = Counter(integers(graph, "Outputs"))
    updates = {}
    for place in range(graph.OperatorsLength()):
        operator = graph.Operators(place)
        inputs = integers(operator, "Inputs")
        uses.update(inputs)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = OPERATIONS.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "")
        if kind == "DYNAMIC_UPDATE_SLICE":
            updates[inputs[0]] = integers(operator, "Outputs")[0]
    return uses, updates
