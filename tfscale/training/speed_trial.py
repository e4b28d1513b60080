"""A short trial of the processor at hand: which precision is fast on it, with XLA or without.

What is fast depends on the processor and on the sizes. oneDNN multiplies bfloat16 matrices by the
instructions that are there for it (AVX512-BF16, AMX). TensorFlow's own kernels are oneDNN's, and
programs of XLA call it where `tfscale.compat.tensorflow_products` can have them do so; XLA's own
products for CPUs have no such instructions, but XLA joins what stands between the products. So the
trial times both: products of the model with an activation (GELU), forward and backward.

Shapes: M rows, K inputs, N outputs of a product.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable

import tensorflow as tf

from tfscale.compat.tensorflow_products import onednn_products

Product = tuple[int, int, int]
Way = tuple[str, bool, bool]
"""Compute type, whether XLA compiles it, and whether oneDNN computes XLA's products."""
FLOAT32: Way = ("float32", True, False)
BFLOAT16: Way = ("bfloat16", False, False)
BFLOAT16_XLA: Way = ("bfloat16", True, True)
BFLOAT16_XLA_ALONE: Way = ("bfloat16", True, False)
"""XLA without oneDNN's products, which need batches with a fixed number of rows."""

_MOST_ROWS, _MOST_WIDTH = 512, 2048
_SHAPES, _ROUNDS = 2, 4


def trial(products: Iterable[Product], ways: tuple[Way, ...]) -> dict[Way, float]:
    """Estimates the time of a train step in several ways.

    It takes one to two seconds: the two shapes that most of the work is in are timed, large ones in
    part. A trial that this process has made already is not made again.

    Args:
        products: (M, K, N) of each product of a forward pass.
        ways: those to compare; they are timed in turn.

    Returns:
        Seconds of forward and backward pass of the timed shapes, by way. They are for comparison:
        a step has other parts too.

    Example:
        trial([(1024, 512, 2048), (1024, 2048, 512)], (FLOAT32, BFLOAT16))[BFLOAT16]
    """
    work = Counter[Product]()
    for m, k, n in products:
        work[m, k, n] += m * k * n
    return dict(_measured(tuple(work.most_common(_SHAPES)), ways))


@functools.cache
def _measured(shapes: tuple[tuple[Product, int], ...], ways: tuple[Way, ...]) -> dict[Way, float]:
    total = dict.fromkeys(ways, 0.0)
    with tf.device("CPU:0"):
        for (m, k, n), work in shapes:
            rows, inputs, outputs = min(m, _MOST_ROWS), min(k, _MOST_WIDTH), min(n, _MOST_WIDTH)
            functions = {way: _layer(rows, inputs, outputs, way) for way in ways}
            best = dict.fromkeys(ways, float("inf"))
            for function in functions.values():  # traced and compiled
                function()
            for _ in range(_ROUNDS):
                for way, function in functions.items():
                    began, used = time.perf_counter(), time.process_time()
                    function()
                    # Where other programs hold the processor, the clock tells of them.
                    took = (time.perf_counter() - began, time.process_time() - used)
                    best[way] = min(best[way], *took)
            for way in ways:
                total[way] += best[way] * work / (rows * inputs * outputs)
    return total


def _layer(m: int, k: int, n: int, way: Way) -> Callable[[], None]:
    """Returns a function that computes a layer and its gradients: (M, K) x (K, N)."""
    dtype, xla, onednn = way
    x = tf.random.stateless_normal((m, k), (1, 2))
    weight = tf.random.stateless_normal((k, n), (3, 4), stddev=0.02)
    upstream = tf.cast(tf.random.stateless_normal((m, n), (5, 6)), dtype)

    def gradients(x: tf.Tensor, weight: tf.Tensor, upstream: tf.Tensor) -> list[tf.Tensor]:
        # Weights are float32 and cast at each use, as in layers of mixed precision.
        with onednn_products(onednn), tf.GradientTape() as tape:
            tape.watch([x, weight])
            y = tf.nn.gelu(tf.matmul(tf.cast(x, dtype), tf.cast(weight, dtype)))
            return tape.gradient(y, [x, weight], output_gradients=upstream)

    compiled = tf.function(gradients, jit_compile=xla, autograph=False)

    def run() -> None:
        for gradient in compiled(x, weight, upstream):
            gradient.numpy()  # waits for it

    return run
