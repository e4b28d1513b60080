"""The norm of all gradients together, and whether they are finite, in forms fast on a CPU."""

import math
from collections.abc import Sequence

import tensorflow as tf

_WIDTH = 2**6 * 3 * 5
"""Most numbers of a row that is summed; the row takes their greatest common divisor with the size
of a gradient."""


def global_norm(gradients: Sequence[tf.Tensor], xla: bool = True) -> tf.Tensor:
    """Returns the square root of the sum of all squares: float32 of any shapes -> scalar float32.

    As `tf.linalg.global_norm`, whose sums XLA runs on one core of a CPU and without vector
    instructions. There the rows of squares are multiplied by ones instead, which is a matrix
    product. Elsewhere products may be of lower precision than sums, and sums are fast.

    Args:
        gradients: dense, of any shapes.
        xla: whether XLA compiles the computation.

    Example:
        global_norm([tf.constant([3.0, 0.0]), tf.constant([[4.0]])])  # 5.0
    """
    if not xla or any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU")):
        return tf.linalg.global_norm(gradients)
    return tf.sqrt(tf.add_n([_sum_of_squares(gradient) for gradient in gradients]))


def all_finite(gradients: Sequence[tf.Tensor], xla: bool) -> tf.Tensor:
    """Returns whether no number is infinite or NaN, as a scalar bool.

    Without XLA it looks at the sum, one operation for each gradient; numbers whose sum is beyond
    3e38 are then taken for infinite.

    Args:
        gradients: dense, of any shapes.
        xla: whether XLA compiles the computation.
    """
    if not xla:
        return tf.math.is_finite(tf.add_n([tf.reduce_sum(gradient) for gradient in gradients]))
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])


def _sum_of_squares(x: tf.Tensor) -> tf.Tensor:
    width = math.gcd(math.prod(x.shape), _WIDTH) if x.shape.is_fully_defined() else 1
    return tf.reduce_sum(tf.linalg.matvec(tf.reshape(tf.square(x), (-1, width)), tf.ones(width)))
