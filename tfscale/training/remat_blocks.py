"""Cuts the graph of a functional model into the blocks that are computed again.

What a training keeps are the tensors that cross from block to block, and, while one block is
computed again, the activations in it. The cuts make the sum of both small, by the sizes that the
symbolic tensors declare.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from tfscale.compat.keras import layers_of
from tfscale.compat.keras_graph import Graph, Node, graph_of

LIMITS = 24
"""How many sizes of the largest block are tried."""


@dataclass(frozen=True)
class Block:
    """Some calls in the graph of a functional model.

    Attributes:
        nodes: the calls, in their order.
        inputs: identities of the symbolic tensors that come from outside.
        outputs: identities of those that something outside needs.
        again: whether it is computed again in the backward pass.
    """

    nodes: Sequence[Node]
    inputs: Sequence[int]
    outputs: Sequence[int]
    again: bool


def is_model(operation: object) -> bool:
    """Returns whether an operation is a model that is cut into blocks itself."""
    return isinstance(operation, keras.Model)


def blocks_of(graph: Graph) -> list[Block]:
    """Returns the blocks of a graph, which together are all its calls.

    Calls that take no floating-point tensor, such as those of embeddings, come first: they keep
    nothing but what they give. A model in it that is most of it is a block by itself, not to be
    computed again as a whole.
    """
    first, others = _without_floats(graph)
    needed = _needed(graph)
    blocks = [_block(first, needed, again=False)] if first else []
    total = sum(_cost(node.operation, node.outputs) for node in others)
    run: list[Node] = []
    for node in others:
        cost = _cost(node.operation, node.outputs)
        if is_model(node.operation) and 2 * cost > total:
            blocks += _cut(run, needed)
            blocks.append(_block([node], needed, again=False))
            run = []
        else:
            run.append(node)
    return blocks + _cut(run, needed)


def _without_floats(graph: Graph) -> tuple[list[Node], list[Node]]:
    """Returns the calls that can be made before there is any floating-point tensor, and others."""
    whole = {id(t) for t in graph.model.inputs if not _floating(t)}
    first, others = [], []
    for node in graph.nodes:
        if all(id(t) in whole for t in node.input_tensors):
            first.append(node)
            whole |= {id(t) for t in node.outputs if not _floating(t)}
        else:
            others.append(node)
    return first, others


def _needed(graph: Graph) -> dict[int, set[int]]:
    """Returns the calls that need a tensor, by its identity; 0 stands for the model's outputs."""
    needed: dict[int, set[int]] = {id(t): {0} for t in graph.model.outputs}
    for node in graph.nodes:
        for tensor in node.input_tensors:
            needed.setdefault(id(tensor), set()).add(id(node))
    return needed


def _block(nodes: Sequence[Node], needed: dict[int, set[int]], again: bool) -> Block:
    own = {id(node) for node in nodes}
    made = {id(t): t for node in nodes for t in node.outputs}
    taken = {id(t): t for node in nodes for t in node.input_tensors}
    inputs = [key for key in taken if key not in made]
    outputs = [key for key in made if needed.get(key, set()) - own]
    return Block(nodes, inputs, outputs, again)


def _cut(nodes: Sequence[Node], needed: dict[int, set[int]]) -> list[Block]:
    """Returns the blocks of calls that follow on each other."""
    if not nodes:
        return []
    costs = [_cost(node.operation, node.outputs) for node in nodes]
    crossing = _crossing(nodes, needed)
    best: tuple[float, list[int]] = (math.inf, [])
    least, most = max(costs), sum(costs)
    for step in range(LIMITS):
        limit = least * (most / least) ** (step / (LIMITS - 1)) * (1 + 1e-9)
        kept, ends = _cheapest(costs, crossing, limit)
        starts = [0, *ends[:-1]]
        largest = max(sum(costs[a:b]) for a, b in zip(starts, ends, strict=True))
        best = min(best, (kept + largest, ends))
    starts = [0, *best[1][:-1]]
    return [
        _block(nodes[start:end], needed, again=True)
        for start, end in zip(starts, best[1], strict=True)
    ]


def _crossing(nodes: Sequence[Node], needed: dict[int, set[int]]) -> list[float]:
    """Returns the sizes of what crosses a cut behind each of some calls."""
    place = {id(node): index for index, node in enumerate(nodes)}
    sizes = [0.0] * len(nodes)
    for index, node in enumerate(nodes):
        for tensor in node.outputs:
            users = needed.get(id(tensor), set())
            last = max((place.get(user, len(nodes)) for user in users), default=index)
            for cut in range(index, min(last, len(nodes))):
                sizes[cut] += _size(tensor)
    return sizes


def _cheapest(
    costs: Sequence[float], crossing: Sequence[float], limit: float
) -> tuple[float, list[int]]:
    """Returns what crosses the cuts that cost least with no block above a limit, and the ends."""
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(costs) + 1):
        found, size = (math.inf, end - 1), 0.0
        for start in range(end - 1, -1, -1):
            size += costs[start]
            if size > limit:
                break
            behind = crossing[start - 1] if start else 0.0
            found = min(found, (best[start][0] + behind, start))
        best.append(found)
    ends = [len(costs)]
    while best[ends[0]][1]:
        ends.insert(0, best[ends[0]][1])
    return best[-1][0], ends


def _cost(operation: object, outputs: Sequence[keras.KerasTensor]) -> float:
    """Returns about how many values a call keeps for the gradient, for each row of a batch."""
    graph = graph_of(operation)
    if graph is not None:
        return sum(_cost(node.operation, node.outputs) for node in graph.nodes) or 1.0
    inner = len(layers_of(operation)) if isinstance(operation, keras.layers.Layer) else 1
    return inner * sum(_size(tensor) for tensor in outputs) or 1.0


def _size(tensor: keras.KerasTensor) -> float:
    return float(math.prod(size or 1 for size in tensor.shape[1:]))


def _floating(tensor: keras.KerasTensor) -> bool:
    return keras.backend.is_float_dtype(tensor.dtype)
