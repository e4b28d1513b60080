"""Integrated gradients (Sundararajan et al. 2017): what each token's vector adds to a number that a
network computes.

The vectors of a text go from zero to what they are; a token's weight is its vector times the mean
gradient on the way. So the weights add up to the number at the text less the number at the zero
vectors (completeness). The integral is taken by the Gauss-Legendre rule, which needs fewer points
than equal steps.

Shapes: S points of the integral, T tokens, E width of the token embedding.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import layers_called_by
from tfscale.files.json_text import JsonObject
from tfscale.text.tokenizers import StreamDecoder, Tokenizer

_ROWS = 16
"""Points that are computed at once."""


@dataclass(frozen=True)
class Attribution:
    """The weights of the tokens of a text in a number.

    Attributes:
        weights: (T,).
        value: the number at the text's vectors.
        start: the number at the baseline.
        error: how far the sum of the weights is off.
    """

    weights: np.ndarray
    value: float
    start: float
    error: float


def integrated_gradients(
    function: Callable[[tf.Tensor], tf.Tensor],
    vectors: np.ndarray | Sequence[Sequence[float]],
    moved: Sequence[bool] | np.ndarray,
    steps: int = 50,
) -> Attribution:
    """Returns the weight of each vector in a number that is computed from them.

    Args:
        function: vectors (S, T, E) float32 -> numbers (S,) float32; TensorFlow operations only.
        vectors: (T, E).
        moved: (T,) which of them begin at zero; the others stay as they are, and have no weight.
        steps: points of the integral.

    Returns:
        An `Attribution`; its error is the difference between the sum of the weights and that of the
        two numbers, as it is.

    Example:
        squares = lambda vectors: tf.reduce_sum(vectors * vectors, [1, 2])
        integrated_gradients(squares, [[1.0, 2.0], [3.0, 0.0]], [True, True]).weights
    """
    end = np.asarray(vectors, np.float32)
    begin = end * (1 - np.asarray(moved, np.float32))[:, None]
    # Gauss-Legendre nodes and weights are for -1 to 1; the path goes from 0 to 1.
    nodes, node_weights = np.polynomial.legendre.leggauss(steps)
    shares = (nodes + 1) / 2

    @tf.function(input_signature=[tf.TensorSpec((None, *end.shape), tf.float32)])
    def gradients(points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(points)
            values = function(points)
        return values, tape.gradient(values, points)

    mean = np.zeros(end.shape, np.float64)
    for at in range(0, steps, _ROWS):
        share = shares[at : at + _ROWS, None, None].astype(np.float32)
        slope = gradients(begin + share * (end - begin))[1].numpy().astype(np.float64)
        mean += np.tensordot(node_weights[at : at + _ROWS] / 2, slope, 1)
    weights = (mean * (end - begin)).sum(-1)
    value, start = (float(number) for number in gradients(np.stack([end, begin]))[0])
    return Attribution(weights, value, start, abs(float(weights.sum()) - (value - start)))


@contextlib.contextmanager
def embedded_as(embedding: keras.layers.Layer, vectors: tf.Tensor) -> Iterator[None]:
    """Lets a token embedding give `vectors` (S, T, E) for any ids in the block; as an output layer
    it stays itself."""
    original = embedding.call

    def call(inputs: tf.Tensor, reverse: bool = False) -> tf.Tensor:
        return (
            original(inputs, reverse=True) if reverse else tf.cast(vectors, embedding.compute_dtype)
        )

    with layers_called_by([(embedding, call)]):
        yield


def token_parts(
    tokenizer: Tokenizer, ids: Sequence[int], weights: Sequence[float]
) -> list[JsonObject]:
    """Returns the text of each token with its weight.

    Tokens that share a character are one part, with the sum of their weights.

    Example:
        token_parts(ByteTokenizer(), [0xC3, 0xA9, 0x21], [0.5, 0.25, 1.0])    # é 0.75, ! 1.0
    """
    decoder, held = StreamDecoder(tokenizer), 0.0
    parts: list[JsonObject] = []
    for id, weight in zip(ids, weights, strict=True):
        held += float(weight)
        if text := decoder.push(id):
            parts.append({"text": text, "weight": held})
            held = 0.0
    if end := decoder.flush():
        parts.append({"text": end, "weight": held})
    return parts
