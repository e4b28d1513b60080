"""The formats in which a file of a recipe stores the weights of a network; the exporter writes
them, fine-tuning imitates them.

Kernels of dense, einsum, convolution and recurrent layers have a scale per output (int8) or per
block of 64 or 32 weights of it (int4). Embedding tables have a scale per row. An LSTM that reads a
whole window in one fused operation has a scale per gate, which is all that the operation takes.
Vectors stay float32. A table that is also the output projection is one table.

Shapes: D inputs of a matrix, F outputs, V rows of a table.
"""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import layers_of, own_variables
from tfscale.models.capability import capabilities
from tfscale.models.recipe import StoredWeight, WeightFormat, recipe

INT4_LARGEST = 7
SMALLEST_SCALE = 2.0**-14
"""The smallest normal float16: XNNPACK takes no smaller scale, and a block that would need one is
zero."""


def weight_formats(network: keras.Model, quantize: str) -> dict[str, WeightFormat]:
    """Returns the format of each weight that a recipe stores, by the weight's path.

    Args:
        network: any Keras model; vectors, and weights of layers that are not named above, stay
            float.
        quantize: name of the recipe; see `tfscale.ExportConfig`.
    """
    chosen = recipe(quantize)
    fused: set[int] = set()
    # A network that is read token by token has no fused operation.
    if capabilities(network).decodes == "none":
        fused = {id(layer.cell) for layer in layers_of(network) if fuses(layer)}
    return {
        weight.path: chosen.format_of(
            StoredWeight(
                shape=tuple(weight.shape),
                summed_axes=_summed_axes(layer, weight),
                is_table=weight.name == "embeddings",
                fused_gates=4 if id(layer) in fused else 0,
                convolved=len(weight.shape) > 2 and not isinstance(layer, keras.layers.EinsumDense),
                is_bias=weight.name == "bias",
            )
        )
        for layer, weight in _weights(network)
    }


def fuses(layer: keras.layers.Layer) -> bool:
    """Returns whether the converter turns a layer into one operation for a whole window.

    The operation is an LSTM's. It knows no state that is carried or given, and no activations but
    those of the paper. A layer whose input is masked keeps its loop too, which shows when the
    network is called.
    """
    if (
        not isinstance(layer, keras.layers.LSTM)
        or layer.stateful
        or layer.unroll
        or layer.return_state
    ):
        return False
    known = (keras.activations.tanh, keras.activations.sigmoid)
    return layer.use_bias and (layer.cell.activation, layer.cell.recurrent_activation) == known


def knows_formats(network: keras.Model) -> bool:
    """Returns whether `weight_formats` knows for sure how each matrix is rounded in a file of the
    network.

    Somebody's own layer or model may use a matrix in any way, a wrapper may compute weights from
    others, and a mask, which shows when the network is called, decides whether an LSTM is fused.
    """
    layers = keras.layers
    found = layers_of(network)
    masked = any(
        isinstance(layer, layers.Masking)
        or (isinstance(layer, layers.Embedding) and layer.mask_zero)
        for layer in found
    )
    if masked and any(fuses(layer) for layer in found):
        return False
    return all(
        type(layer).__module__.split(".")[0] in ("keras", "tfscale")
        and not isinstance(layer, layers.SpectralNormalization | layers.Lambda)
        for layer in found
    )


def stored_bytes(network: keras.Model, quantize: str) -> int:
    """Returns the bytes of a network's weights in a file, without the scales of int8 rows and the
    graph."""
    formats = weight_formats(network, quantize)
    return sum(formats[weight.path].bytes_of(tuple(weight.shape)) for weight in network.weights)


def scale_bytes(network: keras.Model, quantize: str) -> int:
    """Returns the bytes of the scales of int8 weights in a file: a float32 and an int64 zero point
    each."""
    formats = weight_formats(network, quantize)
    return sum(
        12 * formats[weight.path].scales_of(tuple(weight.shape)) for weight in network.weights
    )


def fake_quantize(weight: tf.Tensor, form: WeightFormat) -> tf.Tensor:
    """Returns a weight as it is after it was stored; the gradient passes through unchanged (Bengio
    et al. 2013).

    The rounding is that of litert-quantizer: symmetric, scale = largest magnitude / (2^(bits - 1) -
    1), ties to even, and scales of blocks rounded to bfloat16.

    Args:
        weight: a matrix or table, float32.
        form: 8 or 4 bits.

    Example:
        fake_quantize(tf.constant([[0.5, -1.0]]), WeightFormat(bits=8, axis=1))   # [[64 / 127, -1]]
    """
    if form.block and isinstance(form.axis, tuple):
        return _in_matrix(weight, form)
    largest = 2.0 ** (form.bits - 1) - 1
    values = tf.stop_gradient(weight)
    axis = form.axis
    if form.block:
        rows, columns = weight.shape
        cut = (
            (rows // form.block, form.block, columns)
            if axis == 0
            else (rows, columns // form.block, form.block)
        )
        values, axis = tf.reshape(values, cut), 1 if axis == 0 else 2
    elif form.gates:
        values = tf.reshape(values, (weight.shape[0], form.gates, weight.shape[1] // form.gates))
        axis = (0, 2)
    bound = tf.maximum(tf.reduce_max(tf.abs(values), axis=axis, keepdims=True), 1e-9)
    scale = bound / largest
    if form.block:
        values = tf.where(scale < SMALLEST_SCALE, 0.0, values)
        scale = tf.cast(tf.cast(tf.maximum(scale, SMALLEST_SCALE), tf.bfloat16), tf.float32)
    lowest = -largest if form.bits == 8 else -largest - 1
    rounded = tf.clip_by_value(tf.round(values / scale), lowest, largest) * scale
    return weight + tf.stop_gradient(tf.reshape(rounded, weight.shape) - weight)


def _in_matrix(weight: tf.Tensor, form: WeightFormat) -> tf.Tensor:
    """Returns `fake_quantize` in blocks of a kernel that sums over several axes, or has outputs of
    several: a file holds it as a matrix."""
    summed = form.axis if isinstance(form.axis, tuple) else (form.axis,)
    kept = [axis for axis in range(len(weight.shape)) if axis not in summed]
    order = [*summed, *kept]
    moved = tf.transpose(weight, order)
    rows = math.prod(weight.shape[axis] for axis in summed)
    matrix = fake_quantize(tf.reshape(moved, (rows, -1)), dataclasses.replace(form, axis=0))
    return tf.transpose(tf.reshape(matrix, moved.shape), np.argsort(order))


def rounded(weight: tf.Tensor, form: WeightFormat | None) -> tf.Tensor:
    """Returns `fake_quantize` of a weight of 8 or 4 bits, and any other as it is."""
    return weight if form is None or form.bits > 8 else fake_quantize(weight, form)


def store(weight: tf.Tensor, form: WeightFormat) -> tf.Tensor:
    """Returns a weight of any format as it is after it was stored."""
    if form.bits == 32:
        return weight
    return (
        tf.cast(tf.cast(weight, tf.float16), weight.dtype)
        if form.bits == 16
        else fake_quantize(weight, form)
    )


def _weights(network: keras.Model) -> list[tuple[keras.layers.Layer, keras.Variable]]:
    owners: dict[int, tuple[keras.layers.Layer, keras.Variable]] = {}
    for layer in layers_of(network):
        for weight in own_variables(layer):
            owners.setdefault(id(weight), (layer, weight))
    return [owners[id(weight)] for weight in network.weights if id(weight) in owners]


def _summed_axes(layer: keras.layers.Layer, weight: keras.Variable) -> tuple[int, ...] | None:
    """Returns the axes of a weight that its products sum over; None where it stays float."""
    rank = len(weight.shape)
    # A GRU's bias has two rows, and stays float32 like any other.
    if rank < 2 or weight.name == "bias":
        return None
    if weight.name == "embeddings":
        # Position tables of keras-hub are not looked up by ids: they are cut to the window and
        # added as they are.
        return (
            (1,)
            if isinstance(layer, keras.layers.Embedding) or getattr(layer, "looked_up", False)
            else None
        )
    if isinstance(layer, keras.layers.EinsumDense):
        kernel, output = layer.equation.replace(" ", "").split(",")[1].split("->")
        return tuple(axis for axis, letter in enumerate(kernel) if letter not in output)
    if rank > 2:
        return _summed_by_convolution(layer, weight)
    # Kernels (D, F) sum over D; so does the output half of an untied reversible embedding, (D, V).
    return (0,)


def _summed_by_convolution(
    layer: keras.layers.Layer, weight: keras.Variable
) -> tuple[int, ...] | None:
    """Returns the axes of a kernel of three dimensions or more that its products sum over.

    A kernel is (size ..., channels, outputs); of a depthwise layer each channel has outputs of its
    own, and a transposed one has the two last axes in the other order. The quantizer leaves
    convolutions in three dimensions alone.
    """
    axes = tuple(range(len(weight.shape)))
    layers = keras.layers
    if isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
        return axes[:-2]
    if isinstance(layer, layers.SeparableConv1D | layers.SeparableConv2D):
        return axes[:-2] if weight.name == "depthwise_kernel" else axes[:-1]
    if isinstance(layer, layers.Conv1DTranspose | layers.Conv2DTranspose):
        return (*axes[:-2], axes[-1])
    # The cell of ConvLSTM1D and 2D has no public name.
    convolves = isinstance(layer, layers.Conv1D | layers.Conv2D)
    return axes[:-1] if convolves or type(layer).__name__ == "ConvLSTMCell" else None
