"""The roles of weights: which are matrices of hidden layers, which are not decayed.

An optimizer such as Muon treats the matrices of hidden layers otherwise than embeddings, output
layers, norms and biases. What a weight is follows from the layer that has it, and not from its name
or rank: the bias of a GRU has two rows, and a table of positions is as much a matrix as a kernel.

Shapes: D inputs of a layer, F outputs, H and G query and key heads, K width of a head, U units.
"""

import functools
from dataclasses import dataclass

import keras
import numpy as np

from tfscale.compat.keras import layers_at_output, layers_of, own_trainable_variables
from tfscale.errors import ConfigError
from tfscale.models.attention import CausalSelfAttention
from tfscale.models.capability import declared_output_variables
from tfscale.models.cross_attention import CrossAttention
from tfscale.models.layers import TransformerBlock


@dataclass(frozen=True)
class HiddenMatrix:
    """A weight that is one or several matrices of a hidden layer.

    Several are side by side where a layer computes several functions of its input in one product:
    gates, queries, keys and values. Each is orthogonalized by itself. As one matrix, a part with
    small gradients would get a small update because another part has large ones. Jordan et al.
    (2024, "Muon: An optimizer for hidden layers") found queries, keys and values apart to be
    better; GLM-5 (arXiv:2602.15763, "Muon Split") and Kimi K3 (arXiv:2607.24653, "Per-Head Muon")
    go on to the heads, each of which is a function of its own. It also costs less.

    Attributes:
        weight: the variable.
        input_axes: its first axes, over which the layer sums; those after them are outputs.
        parts: outputs of each matrix, in order.
    """

    weight: keras.Variable
    input_axes: int
    parts: tuple[int, ...]


@functools.singledispatch
def matrices_of(layer: keras.layers.Layer) -> list[HiddenMatrix]:
    """Returns the matrices that a layer applies to its input; none for kinds that are not known.

    `matrices_of.register` makes another kind known. A layer may declare a weight of a layer inside
    it, to say that it is several.

    Example:
        @matrices_of.register
        def _(layer: MyLayer):
            return [HiddenMatrix(layer.kernel, 1, (layer.units,))]
    """
    return []


def _kernels(layer: keras.layers.Layer, parts: int = 1) -> list[HiddenMatrix]:
    """Returns a layer's own kernels (D, parts x U)."""
    return [
        HiddenMatrix(weight, 1, (weight.shape[-1] // parts,) * parts)
        for weight in own_trainable_variables(layer)
        if weight.name in ("kernel", "recurrent_kernel") and len(weight.shape) == 2
    ]


@matrices_of.register
def _(layer: keras.layers.Dense) -> list[HiddenMatrix]:
    return _kernels(layer)


@matrices_of.register
def _(layer: keras.layers.SimpleRNNCell) -> list[HiddenMatrix]:
    return _kernels(layer)


@matrices_of.register
def _(layer: keras.layers.GRUCell) -> list[HiddenMatrix]:
    return _kernels(layer, parts=3)  # update gate, reset gate, candidate


@matrices_of.register
def _(layer: keras.layers.LSTMCell) -> list[HiddenMatrix]:
    return _kernels(layer, parts=4)  # input gate, forget gate, candidate, output gate


@matrices_of.register
def _(layer: keras.layers.EinsumDense) -> list[HiddenMatrix]:
    # The layers of Keras's attention: "abc,cde->abde" sums over c and has outputs e of each head d,
    # "abcd,cde->abe" sums over c and d.
    sources, result = layer.equation.replace(" ", "").split("->")
    kernel = sources.split(",")[1]
    summed = [axis for axis in kernel if axis not in result]
    kernels = [w for w in own_trainable_variables(layer) if w.name == "kernel"]
    if not kernels or list(kernel[: len(summed)]) != summed or len(summed) in (0, len(kernel)):
        return []
    *heads, outputs = kernels[0].shape[len(summed) :]
    return [HiddenMatrix(kernels[0], len(summed), (outputs,) * int(np.prod(heads)))]


@matrices_of.register
def _(layer: CausalSelfAttention) -> list[HiddenMatrix]:
    heads = layer.num_heads + 2 * layer.num_kv_heads
    return [HiddenMatrix(layer.query_key_value.kernel, 1, (layer.head_dim,) * heads)]


@matrices_of.register
def _(layer: CrossAttention) -> list[HiddenMatrix]:
    width = layer.head_dim
    return [
        HiddenMatrix(layer.query.kernel, 1, (width,) * layer.num_heads),
        HiddenMatrix(layer.key_value.kernel, 1, (width,) * (2 * layer.num_kv_heads)),
    ]


@matrices_of.register
def _(layer: TransformerBlock) -> list[HiddenMatrix]:
    units, kernel = layer.options.feed_forward_dim, layer.expand.kernel
    return [HiddenMatrix(kernel, 1, (units,) * (kernel.shape[-1] // units))]  # gate and up


def hidden_matrices(network: keras.Model) -> dict[int, HiddenMatrix]:
    """Returns the matrices of a network's hidden layers, by their weight's index among the
    trainable ones.

    Args:
        network: a built Keras model.

    Raises:
        ConfigError: it is a subclass of `keras.Model` that does not say which weights make its
            output, or it has no such matrices.
    """
    outside = {id(weight) for weight in [*output_weights(network), *_embedded(network)]}
    found: dict[int, HiddenMatrix] = {}
    for layer in layers_of(network):
        for matrix in matrices_of(layer):
            known = found.get(id(matrix.weight))
            # A layer says more of a weight than the layer inside it does.
            if known is None or len(matrix.parts) > len(known.parts):
                found[id(matrix.weight)] = matrix
    by_index = {
        index: found[id(weight)]
        for index, weight in enumerate(network.trainable_variables)
        if id(weight) in found and id(weight) not in outside
    }
    if not by_index:
        raise ConfigError(
            f"model {network.name!r} has no trainable matrix of a hidden layer (Dense,"
            " EinsumDense, SimpleRNN, GRU, LSTM), which the optimizer is for; take adamw"
        )
    return by_index


def output_weights(network: keras.Model) -> list[keras.Variable]:
    """Returns the weights of the layers that make a network's output.

    Raises:
        ConfigError: they are not known.
    """
    declared = declared_output_variables(network)
    if declared is not None:
        return declared
    layers = layers_at_output(network)
    if layers is None:
        raise ConfigError(
            f"model {network.name!r} is a subclass of keras.Model and does not say which weights"
            " make its output, which Muon leaves to AdamW: give it a property output_variables that"
            " lists them, or take another optimizer"
        )
    return [weight for layer in layers for weight in layer.weights]


def undecayed_variables(network: keras.Model) -> list[keras.Variable]:
    """Returns the trainable variables without decay: norms, biases and embeddings."""
    embeddings = {id(variable) for variable in _embedded(network)}
    # A GRU's bias has two rows, one for the input and one for the state.
    return [
        v
        for v in network.trainable_variables
        if len(v.shape) < 2 or v.name == "bias" or id(v) in embeddings
    ]


def _embedded(network: keras.Model) -> list[keras.Variable]:
    """Returns the trainable variables of embeddings, of tokens and of positions."""
    return [
        variable
        for layer in layers_of(network)
        if isinstance(layer, keras.layers.Embedding) or "Embedding" in type(layer).__name__
        for variable in layer.trainable_variables
    ]
