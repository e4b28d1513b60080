"""Private names of TensorFlow by which XLA on a CPU multiplies bfloat16 matrices with oneDNN.

XLA's own products for CPUs convert bfloat16 to float32 and multiply that; oneDNN's use the
instructions that processors have for bfloat16 (AVX512-BF16, AMX) and take a fifth of the time.
TensorFlow's packages for x86 contain XLA's call of oneDNN, but no option that makes XLA use it:
`xla_cpu_experimental_onednn_custom_call` is accepted and has no effect, because XLA was built
without `ENABLE_ONEDNN_ASYNC`. But the call can be written into a program, which this module does.

oneDNN ends the process where it has no product for a processor, so the processor's instructions and
TensorFlow's version are asked first.
"""

import contextlib
import functools
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

_TARGET = "__onednn$matmul"
_VERSIONS = ("2.21",)
"""Versions of TensorFlow whose call was tried."""
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
"""Names that Linux has for a processor's instructions for bfloat16."""
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables by which a user forbids oneDNN instructions."""
_FEWEST = 2**16
"""Multiplications from which on a call of oneDNN is worth its overhead of some microseconds."""
_LARGEST_RANK = 4
_tracing = threading.local()


@contextlib.contextmanager
def onednn_products(wanted: bool = True) -> Iterator[None]:
    """Has oneDNN compute the bfloat16 products of a program for XLA that is traced meanwhile.

    These are the products of `tf.matmul`, and so those of Keras's dense layers and of gradients;
    shapes must be known. All others stay as they are, and so does everything where TensorFlow has
    no such call; see `has_onednn_products`.

    Args:
        wanted: False for a program that another machine will run: there is none in it, whatever is
            asked for within.

    Example:
        @tf.function(jit_compile=True)
        def step(x, kernel):
            with onednn_products():
                return tf.matmul(x, kernel)
    """
    _install()
    before = getattr(_tracing, "wanted", None)
    _tracing.wanted = wanted and before is not False
    try:
        yield
    finally:
        _tracing.wanted = before


@functools.cache
def has_onednn_products() -> bool:
    """Returns whether XLA can call oneDNN here, by a small product that is compared."""
    if tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"):
        return False
    if not may_call_onednn():
        return False
    with tf.init_scope():
        a = tf.cast(tf.random.stateless_normal((8, 16), (1, 2)), tf.bfloat16)
        b = tf.cast(tf.random.stateless_normal((4, 16), (3, 4)), tf.bfloat16)
        call = tf.function(lambda a, b: _call(a, b, False, True), jit_compile=True, autograph=False)
        try:
            found = call(a, b)
        except (tf.errors.OpError, AttributeError, ImportError):
            return False
        wanted = tf.matmul(tf.cast(a, tf.float32), tf.cast(b, tf.float32), transpose_b=True)
        return float(tf.reduce_max(tf.abs(tf.cast(found, tf.float32) - wanted))) < 0.1


def may_call_onednn(processor: Path = Path("/proc/cpuinfo")) -> bool:
    """Returns whether a call can be tried: by TensorFlow's version, what the user forbids, and the
    instructions of the processor.

    Args:
        processor: file in which Linux describes it; other systems have none.
    """
    if not tf.__version__.startswith(tuple(f"{version}." for version in _VERSIONS)):
        return False
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" or any(map(os.environ.get, _LIMITS)):
        return False
    try:
        lines = processor.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _INSTRUCTIONS.isdisjoint(flags.split())


def onednn_product(
    a: tf.Tensor, b: tf.Tensor, transpose_a: bool = False, transpose_b: bool = False
) -> tf.Tensor:
    """Returns the product of two matrices, or of two batches of them, within a program for XLA.

    Args:
        a: (..., M, K), or (..., K, M) with `transpose_a`; bfloat16, of known shape.
        b: (..., K, N), or (..., N, K) with `transpose_b`; its batch has the same sizes.
        transpose_a: whether `a` is transposed first.
        transpose_b: whether `b` is transposed first.

    Returns:
        (..., M, N) in bfloat16, summed in float32. It has gradients, which are such products.
    """

    @tf.custom_gradient
    def product(a, b):
        def gradients(d):
            if transpose_a:
                d_a = onednn_product(b, d, transpose_b, True)
            else:
                d_a = onednn_product(d, b, False, not transpose_b)
            if transpose_b:
                d_b = onednn_product(d, a, True, transpose_a)
            else:
                d_b = onednn_product(a, d, not transpose_a, False)
            return d_a, d_b

        return _call(a, b, transpose_a, transpose_b), gradients

    return product(a, b)


def _call(a: tf.Tensor, b: tf.Tensor, transpose_a: bool, transpose_b: bool) -> tf.Tensor:
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops

    *batch, rows, columns = a.shape
    m = columns if transpose_a else rows
    n = b.shape[-2] if transpose_b else b.shape[-1]
    options = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    (result,) = gen_xla_ops.xla_custom_call_v2(
        operands=[a, b],
        call_target_name=_TARGET,
        backend_config=json.dumps({"onednn_matmul_config": options}),
        has_side_effect=False,
        result_dtypes=[a.dtype],
        result_shapes=[(*batch, m, n)],
    )
    return result


@functools.cache
def _install() -> None:
    """Puts a choice before the functions that make operations of products.

    They are looked up at each call by `tf.matmul` and by the gradients of these operations. Outside
    of `onednn_products` the choice is always TensorFlow's own operation.
    """
    from tensorflow.python.ops import gen_math_ops

    gen_math_ops.mat_mul = _or_onednn(gen_math_ops.mat_mul, "transpose_a", "transpose_b")
    gen_math_ops.batch_mat_mul_v2 = _or_onednn(gen_math_ops.batch_mat_mul_v2, "adj_x", "adj_y")


def _or_onednn(own: Callable[..., tf.Tensor], turn_a: str, turn_b: str) -> Callable[..., tf.Tensor]:
    @functools.wraps(own)
    def product(a, b, *arguments, **options):
        if getattr(_tracing, "wanted", None) and not arguments and not tf.executing_eagerly():
            left, right = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
            if _suits(left, right) and has_onednn_products():
                left, turned_a = _before_transposition(left)
                right, turned_b = _before_transposition(right)
                turns = (options.get(turn_a, False), options.get(turn_b, False))
                return onednn_product(left, right, turns[0] != turned_a, turns[1] != turned_b)
        return own(a, b, *arguments, **options)

    return product


def _before_transposition(matrix: tf.Tensor) -> tuple[tf.Tensor, bool]:
    """Returns a matrix, or a batch of them, from before it was transposed, and whether it was.

    oneDNN reads both; XLA would copy a transposed matrix for it.
    """
    if matrix.op.type != "Transpose":
        return matrix, False
    source, order = matrix.op.inputs
    *batch, rows, columns = range(matrix.shape.rank)
    places = tf.get_static_value(order)
    if places is None or list(places) != [*batch, columns, rows]:
        return matrix, False
    return source, True


def _suits(a: tf.Tensor, b: tf.Tensor) -> bool:
    shapes = (a.shape, b.shape)
    if not (a.dtype == b.dtype == tf.bfloat16 and all(s.is_fully_defined() for s in shapes)):
        return False
    if a.shape[:-2] != b.shape[:-2] or a.shape.rank > _LARGEST_RANK:
        return False
    # Each of M, K and N is in two of the three matrices, or a factor is.
    return a.shape.num_elements() * min(b.shape[-2:]) >= _FEWEST
