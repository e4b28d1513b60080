"""Private names of Keras's functional models, and of what surrounds the call of a layer.

A functional model runs its graph in one go, and gives no public way to run a part of it. While a
layer is called, Keras keeps the type to compute in and arguments such as `training` in global
state; what calls a layer again later needs them as they were.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.backend.common.variables import AutocastScope, get_autocast_scope
from keras.src.models.functional import Functional, operation_fn
from keras.src.ops.node import Node

from tfscale.compat.keras import with_mask
from tfscale.compat.keras_trainer import Nested

CONTEXT = "current_call_ctx"
"""Keras's name of the global state with the arguments that layers hand on."""


@dataclass(frozen=True)
class Graph:
    """The calls of layers and operations in a functional model, in the order of their computation.

    Attributes:
        model: the functional model; of a `Sequential` model, the one that it computes by.
        nodes: the calls, each with `operation`, `input_tensors` and `outputs`, which are symbolic.
    """

    model: keras.Model
    nodes: list[Node]

    def begin(self, inputs: Nested, mask: Nested) -> dict[int, tf.Tensor]:
        """Returns the inputs by the identity of the symbolic tensors that they are given for."""
        given = self.model._standardize_inputs(inputs)
        for tensor, own in zip(given, keras.tree.flatten(mask), strict=False):
            if own is not None:
                with_mask(tensor, own)
        return {id(one): x for one, x in zip(self.model.inputs, given, strict=True)}

    def run(
        self,
        nodes: Sequence[Node],
        values: dict[int, tf.Tensor],
        arguments: dict[str, object],
    ) -> None:
        """Computes some of the calls.

        Args:
            nodes: the calls.
            values: what is computed already, by identity of the symbolic tensors. Outputs are
                added.
            arguments: those that a model hands on to its layers, such as `training`.
        """
        for node in nodes:
            own, named = node.arguments.fill_in(values)
            outputs = operation_fn(node.operation, **arguments)(*own, **named)
            flat = keras.tree.flatten(outputs)
            values.update({id(one): y for one, y in zip(node.outputs, flat, strict=True)})

    def end(self, values: dict[int, tf.Tensor]) -> Nested:
        """Returns the outputs of the model."""
        outputs = [values[id(one)] for one in self.model.outputs]
        packed = keras.tree.pack_sequence_as(self.model._outputs_struct, outputs)
        return packed[0] if isinstance(packed, list | tuple) and len(packed) == 1 else packed


def graph_of(layer: object) -> Graph | None:
    """Returns the graph of a functional or `Sequential` model; None of anything else.

    A model whose class has a `call` of its own is something else, too.
    """
    if isinstance(layer, keras.Sequential) and type(layer).call is keras.Sequential.call:
        layer = layer._functional
    if not isinstance(layer, Functional) or type(layer).call is not Functional.call:
        return None
    depths = sorted(layer._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in layer._nodes_by_depth[depth]]
    return Graph(layer, [node for node in nodes if node.operation and not node.is_input])


def surroundings() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Notes what surrounds the call of a layer, and returns what makes it so again for a block.

    The arguments are those of now: layers change them while they are called.
    """
    autocast = get_autocast_scope()
    dtype = None if autocast is None else autocast.dtype
    arguments = copy.copy(global_state.get_global_attribute(CONTEXT))

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        before = global_state.get_global_attribute(CONTEXT)
        global_state.set_global_attribute(CONTEXT, copy.copy(arguments))
        try:
            with AutocastScope(dtype):
                yield
        finally:
            global_state.set_global_attribute(CONTEXT, before)

    return again


def current_scope() -> keras.StatelessScope | None:
    """Returns the stateless scope that is entered; None if there is none."""
    return global_state.get_global_attribute("stateless_scope")


def uncast(variable: keras.Variable) -> tf.Tensor:
    """Returns the value of a variable in its own type, where layers get it in theirs."""
    with AutocastScope(None):
        return tf.convert_to_tensor(variable.value)
