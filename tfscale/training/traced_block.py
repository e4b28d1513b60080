"""A block of layers that the tape computes again instead of keeping its activations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from tfscale.compat.keras import mask_of, with_mask
from tfscale.compat.keras_graph import surroundings, uncast
from tfscale.compat.keras_trainer import Nested, NotingScope
from tfscale.models.remat import one_turn

ONCE = ("Random", "Truncated", "Parameterized", "Multinomial", "Stateful", "Assign")
"""How the names of TensorFlow's operations begin that draw from its own state or change a state."""
REPEATABLE = ("StatefulPartitionedCall",)
"""The exceptions: calls of functions."""
Function = Callable[..., Any]
"""Computes a block: tensors in lists, tuples and dicts to such."""


class Run(Protocol):
    """The members of a forward pass by blocks that a block uses."""

    network: keras.Model
    refused: str


class TracedBlock:
    """A block whose arguments are known.

    Args:
        function: computes it.
        arguments: args and kwargs.
        layers: those that it calls.
        noted: the variables that were updated before it, by identity.
        run: notes what is refused.
    """

    def __init__(
        self,
        function: Function,
        arguments: tuple[Nested, Nested],
        layers: Sequence[keras.layers.Layer],
        noted: Mapping[int, keras.Variable],
        run: Run,
    ):
        self.function, self.arguments, self.run = function, arguments, run
        self.flat = keras.tree.flatten(arguments)
        self.masks = [mask_of(x) if tf.is_tensor(x) else None for x in self.flat]
        self.name = layers[0].name if layers else "operation"
        unique = {
            id(v): v for layer in layers for v in [*layer.variables, *layer.metrics_variables]
        }
        # A state that an earlier call has computed may depend on weights.
        self.weights = [
            v
            for key, v in unique.items()
            if v.trainable or (key in noted and keras.backend.is_float_dtype(v.dtype))
        ]
        self.given = {key: uncast(v) for key, v in unique.items()}
        self.around = surroundings()
        # Of the first pass: structure of the outputs, those that have masks, losses, new states.
        self.structure: Nested = None
        self.masked: list[int] = []
        self.losses: list[tf.Tensor] = []
        self.states: list[keras.Variable] = []

    def call(self, inputs: Sequence[tf.Tensor], places: Sequence[int]) -> Sequence[tf.Tensor]:
        """Computes the block from its floating-point inputs, which stand at some places."""
        count = len(inputs)

        @tf.custom_gradient
        def computed(*tensors):
            first = self._forward(dict(zip(places, tensors[:count], strict=True)), tensors[count:])

            def gradient(*upstream, variables=None):
                pairs = [
                    (index, tf.convert_to_tensor(tensor))
                    for index, tensor in enumerate(upstream)
                    if tensor is not None and first[index].dtype.is_floating
                ]

                def again(*tensors):
                    with tf.GradientTape() as tape:
                        tape.watch(tensors)
                        given = dict(zip(places, tensors[:count], strict=True))
                        with self.around():
                            outputs = self._forward(given, tensors[count:], first=False)
                        outputs = [outputs[index] for index, _ in pairs]
                    return tape.gradient(
                        outputs,
                        tensors,
                        output_gradients=[tensor for _, tensor in pairs],
                        unconnected_gradients="zero",
                    )

                found = one_turn(again, tensors, [tensor for _, tensor in pairs])
                # What the block uses besides its own variables is refused.
                return (found, [None] * len(variables)) if variables else found

            return first, gradient

        return computed(*inputs, *(self.given[id(v)] for v in self.weights))

    def _forward(self, inputs, weights, first=True):
        """Returns outputs, their masks, losses and new states, one after the other."""
        flat = list(self.flat)
        for place, tensor in inputs.items():
            flat[place] = tf.identity(tensor)
        for place, mask in enumerate(self.masks):
            if mask is not None:
                flat[place] = with_mask(tf.identity(flat[place]), mask)
        args, kwargs = keras.tree.pack_sequence_as(self.arguments, flat)
        before = _operations()
        with _BlockScope() as scope:
            scope.state_mapping |= self.given
            scope.state_mapping |= {
                id(v): value for v, value in zip(self.weights, weights, strict=True)
            }
            outputs = self.function(*args, **kwargs)
        leaves = keras.tree.flatten(outputs)
        masks = [mask_of(leaf) for leaf in leaves]
        if first:
            self._note(scope, outputs, masks)
            self._check_repeatable(_operations()[len(before) :])
        states = [scope.state_mapping[id(v)] for v in self.states]
        return [*leaves, *(m for m in masks if m is not None), *scope.losses, *states]

    def _note(self, scope, outputs, masks):
        self.structure, self.losses = outputs, scope.losses
        self.masked = [place for place, mask in enumerate(masks) if mask is not None]
        self.states = list(scope.noted.values())
        foreign = {id(v): v for v in [*scope.foreign, *self.states] if id(v) not in self.given}
        for variable in foreign.values():
            self.run.refused = self.run.refused or (
                f"remat=True computes layer {self.name!r} again, which uses {variable.path!r}, a"
                " variable that is not the layer's own: give it to the layer as an attribute (a"
                " keras.random.SeedGenerator for random numbers), or leave out remat"
            )

    def _check_repeatable(self, operations: Sequence[tf.Operation]) -> None:
        """Refuses TensorFlow's own random numbers and assignments, which would happen twice."""
        for kind in kinds_of(operations):
            if kind.startswith(ONCE) and not kind.startswith(REPEATABLE):
                self.run.refused = self.run.refused or (
                    f"remat=True computes layer {self.name!r} again, whose TensorFlow operation"
                    f" {kind} would not give the same again: draw by keras.random with a"
                    " keras.random.SeedGenerator, assign to variables of add_weight, or leave out"
                    " remat"
                )

    def unpacked(self, outputs: Sequence[tf.Tensor], outer: keras.StatelessScope) -> Nested:
        """Returns the outputs as the block gives them; hands losses and states to the scope."""
        leaves = keras.tree.flatten(self.structure)
        parts = iter(outputs)
        tensors = [next(parts) for _ in leaves]
        for place in self.masked:
            tensors[place] = with_mask(tensors[place], next(parts))
        for _ in self.losses:
            # The method of functional models refuses.
            keras.layers.Layer.add_loss(self.run.network, next(parts))
        for variable, value in zip(self.states, parts, strict=True):
            outer.add_update((variable, value))
        return keras.tree.pack_sequence_as(self.structure, tensors)


class _BlockScope(NotingScope):
    """A stateless scope that knows which variables were read that it has no value for."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[keras.Variable] = []

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        """Returns the value of a variable; None without one."""
        if id(variable) not in self.state_mapping:
            self.foreign.append(variable)
        return super().get_current_value(variable)


def _operations() -> Sequence[tf.Operation]:
    """Returns the operations of the function that is being traced; none if all is eager."""
    return [] if tf.executing_eagerly() else tf.compat.v1.get_default_graph().get_operations()


def kinds_of(operations: Sequence[tf.Operation]) -> set[str]:
    """Returns the types of operations, with those in the bodies of loops, conditions and calls."""
    kinds, called = set(), set()
    for operation in operations:
        kinds.add(operation.type)
        called |= _called(operation.node_def)
    if called:
        # The library holds the bodies of bodies, too.
        library = operations[0].graph.as_graph_def().library
        bodies = {body.signature.name: body.node_def for body in library.function}
        seen: set[str] = set()
        while left := called - seen:
            seen |= left
            for node in (node for name in left for node in bodies.get(name, ())):
                kinds.add(node.op)
                called |= _called(node)
    return kinds


def _called(node: Any) -> set[str]:
    """Returns the names of the functions that a node of a graph calls."""
    values = node.attr.values()
    names = {value.func.name for value in values if value.HasField("func")}
    return names | {func.name for value in values for func in value.list.func}


def is_floating(leaf: object) -> bool:
    """Returns whether something is a tensor that can have a gradient."""
    return isinstance(leaf, tf.Tensor) and leaf.dtype.is_floating
