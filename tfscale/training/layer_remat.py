"""Rematerialization of any Keras model: activations are computed again in the backward pass.

A block is some calls of layers. Of a functional or `Sequential` model, blocks are runs of calls
(`tfscale.training.remat_blocks` chooses them); of a subclassed model, its layers. Its inputs are
kept. In the backward pass it is computed again with the weights, seeds and other states that it
had, so that dropout draws the same masks; each state advances once.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfscale.compat.keras import Call, layers_called_by
from tfscale.compat.keras_graph import Graph, current_scope, graph_of
from tfscale.compat.keras_trainer import Nested, NotingScope
from tfscale.errors import ConfigError
from tfscale.training.model_state import is_synchronized
from tfscale.training.remat_blocks import Block, blocks_of, is_model
from tfscale.training.traced_block import Function, TracedBlock, is_floating


def check_remat(network: keras.Model, eager: bool) -> None:
    """Refuses a network that cannot be computed again.

    Args:
        network: of the model.
        eager: whether the step runs eagerly.

    Raises:
        ConfigError: says what to do.
    """
    if eager or tf.config.functions_run_eagerly():
        # A layer that draws by tf.random is found by the operations of its traced call.
        raise ConfigError(
            "remat=True looks at what a layer's call becomes when it is traced, which"
            " run_eagerly=True does not do: leave out one of them"
        )
    if is_synchronized(network):
        raise ConfigError(
            "remat=True computes layers again, and synchronized batch normalization would"
            " communicate with the other replicas again: leave out one of them, or take"
            " LayerNormalization or GroupNormalization"
        )


@contextlib.contextmanager
def rematerialized_blocks(network: keras.Model) -> Iterator[None]:
    """Has a network keep the inputs of its blocks, not their activations, when called in the block.

    It is for forward passes within a stateless scope, whose values stand for the weights. Gradients
    may be taken afterwards.

    Args:
        network: built; functional, `Sequential` or subclassed.

    Raises:
        ConfigError: a block uses a variable that is not of its layers, or no block was computed.

    Example:
        with tf.GradientTape() as tape, keras.StatelessScope():
            with rematerialized_blocks(network):
                loss = loss_of(network(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
    """
    run = _Run(network)
    with layers_called_by(run.calls(network, set())):
        yield
    # Not raised within the network's call, where Keras would put its own lines around it.
    if run.refused:
        raise ConfigError(run.refused)
    if not run.count:
        raise ConfigError(
            f"remat=True found nothing to compute again in model {network.name!r}: it needs a"
            " functional or Sequential model, or layers that a subclassed model has as attributes"
            " and calls with floating-point tensors"
        )


class _Run:
    """A forward pass of a network by blocks.

    Args:
        network: owns the losses that blocks add.

    Attributes:
        count: blocks that were computed.
        refused: what is wrong with one of them; empty if nothing is.
    """

    def __init__(self, network: keras.Model):
        self.network = network
        self.count = 0
        self.refused = ""

    def calls(
        self, model: keras.layers.Layer, seen: set[int]
    ) -> list[tuple[keras.layers.Layer, Call]]:
        """Returns the layers that compute by blocks, each with how."""
        if id(model) in seen:
            return []
        seen.add(id(model))
        graph = graph_of(model)
        if graph is not None:
            blocks = blocks_of(graph)
            inner = [node.operation for block in blocks if not block.again for node in block.nodes]
            found = [(graph.model, self._by_blocks(graph, blocks))]
            return found + [
                pair for one in inner if is_model(one) for pair in self.calls(one, seen)
            ]
        if not is_model(model):
            call = model.call
            return [(model, lambda *args, **kwargs: self.block(call, [model], args, kwargs))]
        inner = [layer for layer in model.layers if layer.variables or is_model(layer)]
        return [pair for layer in inner for pair in self.calls(layer, seen)]

    def _by_blocks(self, graph: Graph, blocks: Sequence[Block]) -> Call:
        """Returns the `call` of a functional model that computes block by block."""

        def call(inputs, training=None, mask=None, **others):
            values = graph.begin(inputs, mask)
            arguments = {"training": training, **others}
            for block in blocks:
                if not block.again:
                    graph.run(block.nodes, values, arguments)
                    continue

                def function(given, block=block):
                    own = dict(given)
                    graph.run(block.nodes, own, arguments)
                    return {key: own[key] for key in block.outputs}

                layers = [n.operation for n in block.nodes]
                given = {key: values[key] for key in block.inputs if key in values}
                values |= self.block(function, layers, (given,), {})
            return graph.end(values)

        return call

    def block(
        self, function: Function, layers: Sequence[object], args: tuple, kwargs: dict[str, Nested]
    ) -> Any:
        """Computes a block, and has the tape compute it again.

        Args:
            function: computes it.
            layers: those whose variables it uses; other operations have none.
            args: its arguments.
            kwargs: its named arguments.
        """
        flat = keras.tree.flatten((args, kwargs))
        if any(isinstance(leaf, tf.SparseTensor | tf.RaggedTensor) for leaf in flat):
            return function(*args, **kwargs)
        # The tape asks for gradients of these only.
        places = [i for i, leaf in enumerate(flat) if is_floating(leaf)]
        outer = current_scope()
        if not places or outer is None:
            return function(*args, **kwargs)
        self.count += 1
        own = [layer for layer in layers if isinstance(layer, keras.layers.Layer)]
        noted = outer.noted if isinstance(outer, NotingScope) else {}
        traced = TracedBlock(function, (args, kwargs), own, noted, self)
        outputs = traced.call([flat[i] for i in places], places)
        return traced.unpacked(outputs, outer)
