"""How each weight of a network is stored in a file of each recipe; the exporter writes it,
fine-tuning imitates it.

Kernels of dense, einsum, convolution and recurrent layers have a scale per output (int8) or per
block of 64 or 32 weights of it (int4). Embedding tables have a scale per row. An LSTM that reads a
whole window in one fused operation has a scale per gate, which is all that the operation takes.
Vectors stay float32. A table that is also the output projection is one table.

Shapes: D inputs of a matrix, F outputs, V rows of a table.
"""

from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import layers_of, own_variables
from tfscale.config import Quantization

BLOCKS = (64, 32)
"""Weights that share a scale in int4; the first of which a sum is made of whole blocks is taken."""
INT4_LARGEST = 7
SMALLEST_SCALE = 2.0**-14
"""The smallest normal float16: XNNPACK takes no smaller scale, and a block that would need one is
zero."""


@dataclass(frozen=True)
class WeightFormat:
    """How the numbers of a weight are stored.

    `bits` are 32, 16, 8 or 4. `block` is the number of weights that share a scale, along `axis`; 0
    for all along it. `axis` is the one over which a product sums, or the several: 0 of a kernel (D,
    F), 1 of a table (V, D). With `gates` the last axis is cut into as many equal parts, and all
    weights of a part share a scale.
    """

    bits: Literal[32, 16, 8, 4]
    axis: int | tuple[int, ...] = 0
    block: int = 0
    gates: int = 0

    def scales_of(self, shape: tuple[int, ...]) -> int:
        """Scales of an int8 weight."""
        if self.bits != 8:
            return 0
        axes = (self.axis,) if isinstance(self.axis, int) else self.axis
        kept = [size for axis, size in enumerate(shape) if axis not in axes]
        return self.gates or int(np.prod(kept))

    def bytes_of(self, shape: tuple[int, ...]) -> int:
        """Bytes of the numbers and of int4's scales (float16); int8's scales count with the
        graph."""
        size = int(np.prod(shape))
        scales = 2 * (size // self.block) if self.block else 0
        return size * self.bits // 8 + scales


def weight_formats(network: keras.Model, quantize: Quantization) -> dict[str, WeightFormat]:
    """The format of each weight that a recipe stores, by the weight's path.

    Args:
        network: any Keras model; vectors, and weights of layers that are not named above, stay
            float.
        quantize: the recipe; see `tfscale.ExportConfig`.
    """
    fused: set[int] = set()
    if not hasattr(
        network, "cached_step"
    ):  # A network that is read token by token has no fused operation.
        fused = {id(layer.cell) for layer in layers_of(network) if fuses(layer)}
    return {
        weight.path: _format(layer, weight, quantize, id(layer) in fused)
        for layer, weight in _weights(network)
    }


def fuses(layer: Any) -> bool:
    """Whether a layer is an LSTM that the converter turns into one operation for a whole window.

    The operation knows no state that is carried or given, and no activations but those of the
    paper. A layer whose input is masked keeps its loop too, which shows when the network is called.
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


def stored_bytes(network: keras.Model, quantize: Quantization) -> int:
    """Bytes that the weights of a network take in a file, without the scales of int8 rows and the
    graph."""
    formats = weight_formats(network, quantize)
    return sum(formats[weight.path].bytes_of(tuple(weight.shape)) for weight in network.weights)


def scale_bytes(network: keras.Model, quantize: Quantization) -> int:
    """Bytes of the scales of int8 weights in a file: a float32 and an int64 zero point each."""
    formats = weight_formats(network, quantize)
    return sum(
        12 * formats[weight.path].scales_of(tuple(weight.shape)) for weight in network.weights
    )


def block_of(length: int) -> int:
    """The block size of a matrix whose products sum over `length` weights; 0 where no block
    fits."""
    return next((block for block in BLOCKS if length % block == 0), 0)


def fake_quantize(weight: tf.Tensor, form: WeightFormat) -> tf.Tensor:
    """What a weight is after it was stored; the gradient passes through unchanged (Bengio et al.
    2013).

    The rounding is that of litert-quantizer: symmetric, scale = largest magnitude / (2^(bits - 1) -
    1), ties to even, and scales of blocks rounded to bfloat16.

    Args:
        weight: a matrix or table, float32.
        form: 8 or 4 bits.

    Example:
        fake_quantize(tf.constant([[0.5, -1.0]]), WeightFormat(bits=8, axis=1))   # [[64 / 127, -1]]
    """
    largest = 2.0 ** (form.bits - 1) - 1
    values = tf.stop_gradient(weight)
    axis: Any = form.axis
    if form.block:
        rows, columns = weight.shape
        cut = (
            (rows // form.block, form.block, columns)
            if axis == 0
            else (rows, columns // form.block, form.block)
        )
        values, axis = tf.reshape(values, cut), axis + 1
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


def rounded(weight: tf.Tensor, form: WeightFormat | None) -> tf.Tensor:
    """`fake_quantize` of a weight of 8 or 4 bits; any other as it is."""
    return weight if form is None or form.bits > 8 else fake_quantize(weight, form)


def store(weight: tf.Tensor, form: WeightFormat) -> tf.Tensor:
    """What a weight of any format is after it was stored."""
    if form.bits == 32:
        return weight
    return (
        tf.cast(tf.cast(weight, tf.float16), weight.dtype)
        if form.bits == 16
        else fake_quantize(weight, form)
    )


def _weights(network: keras.Model) -> list[tuple[Any, keras.Variable]]:
    found: dict[int, tuple[Any, keras.Variable]] = {}
    for layer in layers_of(network):
        for weight in own_variables(layer):
            found.setdefault(id(weight), (layer, weight))
    return [found[id(weight)] for weight in network.weights if id(weight) in found]


def _format(
    layer: Any, weight: keras.Variable, quantize: Quantization, fused: bool
) -> WeightFormat:
    if quantize in ("none", "float16"):
        return WeightFormat(bits=32 if quantize == "none" else 16)
    axes = _summed_axes(layer, weight)
    if axes is None:
        return WeightFormat(bits=32)
    if len(axes) > 1 or len(weight.shape) > 2:
        return WeightFormat(bits=8, axis=axes)
    if fused:
        return WeightFormat(bits=8, axis=(0, 1), gates=4)
    axis, is_table = axes[0], weight.name == "embeddings"
    block = block_of(weight.shape[axis])
    if quantize == "int8" or (is_table and quantize == "int4") or not block:
        return WeightFormat(bits=8, axis=axis)
    return WeightFormat(bits=4, axis=axis, block=block)


def _summed_axes(layer: Any, weight: keras.Variable) -> tuple[int, ...] | None:
    """The axes of a weight that its products sum over; None where it stays float."""
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
        convolutions = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
        return tuple(range(rank - 1)) if isinstance(layer, convolutions) else None
    # Kernels (D, F) sum over D; so does the output half of an untied reversible embedding, (D, V).
    return (0,)
