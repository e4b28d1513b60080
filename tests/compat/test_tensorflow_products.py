"""XLA on a CPU multiplies bfloat16 matrices with oneDNN: the products, their gradients, and where it does so."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tests.training.tiny import CONFIGS, make_windows
from tfscale import models
from tfscale.compat import tensorflow_products as products
from tfscale.compat.tensorflow_products import has_onednn_products, may_call_onednn, onednn_products
from tfscale.training.xla import compiled_by_xla

CALL = "__onednn$matmul"
needs_onednn = pytest.mark.skipif(
    not may_call_onednn(), reason="the processor has no instructions for bfloat16"
)


def matrices(shape_a, shape_b, dtype=tf.bfloat16):
    rng = np.random.default_rng(0)
    return [tf.cast(rng.normal(size=shape), dtype) for shape in (shape_a, shape_b)]


def program(function, *arguments):
    """XLA's program, optimized."""
    return function.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")


@pytest.mark.parametrize(
    "flags, expected",
    [
        ("processor : 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n", True),
        ("flags : fpu amx_bf16\n", True),
        ("flags : fpu avx2 avx512f avx512bw\n", False),
        ("Features : fp asimd bf16\n", False),
        ("", False),
        (None, False),
    ],
    ids=["AVX512", "AMX", "neither", "ARM", "nothing", "no such file"],
)
def test_a_processor_without_the_instructions_is_not_asked(tmp_path, monkeypatch, flags, expected):
    for name in ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "cpuinfo"
    if flags is not None:
        file.write_text(flags)
    assert may_call_onednn(file) is expected


@pytest.mark.parametrize(
    "name, value", [("TF_ENABLE_ONEDNN_OPTS", "0"), ("ONEDNN_MAX_CPU_ISA", "AVX2")]
)
def test_a_user_can_forbid_it(tmp_path, monkeypatch, name, value):
    (tmp_path / "cpuinfo").write_text("flags : avx512_bf16\n")
    monkeypatch.setenv(name, value)
    assert not may_call_onednn(tmp_path / "cpuinfo")


def test_versions_that_were_not_tried_are_not_asked(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags : avx512_bf16\n")
    monkeypatch.setattr(tf, "__version__", "2.29.0")
    assert not may_call_onednn(tmp_path / "cpuinfo")


@needs_onednn
def test_tensorflow_has_the_call():
    assert has_onednn_products()


@needs_onednn
@pytest.mark.parametrize("batch", [(), (2, 3)], ids=["matrices", "batches"])
@pytest.mark.parametrize("as_operation", [False, True], ids=["option", "transposed before"])
@pytest.mark.parametrize("turn_a, turn_b", [*itertools.product((False, True), repeat=2)])
def test_product_and_gradients(batch, as_operation, turn_a, turn_b):
    a, b = matrices(
        (*batch, 64, 48) if turn_a else (*batch, 48, 64),
        (*batch, 80, 64) if turn_b else (*batch, 64, 80),
    )
    upstream = tf.cast(np.random.default_rng(1).normal(size=(*batch, 48, 80)), tf.bfloat16)

    def product(a, b, upstream):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            if as_operation:
                left = tf.linalg.matrix_transpose(a) if turn_a else a
                right = tf.linalg.matrix_transpose(b) if turn_b else b
                y = tf.matmul(left, right)
            else:
                y = tf.matmul(a, b, transpose_a=turn_a, transpose_b=turn_b)
        return [y, *tape.gradient(y, [a, b], output_gradients=upstream)]

    compiled = compiled_by_xla(product)
    text = program(compiled, a, b, upstream)
    assert text.count(CALL) == 3
    # oneDNN reads matrices that are transposed; nothing copies them before.
    assert "transpose(" not in text
    wanted = product(*(tf.cast(part, tf.float32) for part in (a, b, upstream)))
    for one, other in zip(compiled(a, b, upstream), wanted, strict=True):
        assert one.dtype == tf.bfloat16
        # Products are summed in float32 and rounded once, to 8 bits.
        np.testing.assert_allclose(tf.cast(one, tf.float32), other, rtol=2**-8, atol=1e-3)


@needs_onednn
@pytest.mark.parametrize(
    "shape_a, shape_b, dtype",
    [((64, 64), (64, 64), tf.float32), ((2, 4), (4, 2), tf.bfloat16)],
    ids=["float32", "tiny"],
)
def test_other_products_stay_xlas(shape_a, shape_b, dtype):
    a, b = matrices(shape_a, shape_b, dtype)
    assert CALL not in program(compiled_by_xla(tf.matmul), a, b)


@needs_onednn
def test_programs_of_others_are_left_alone():
    a, b = matrices((64, 64), (64, 64))
    plain = tf.function(lambda a, b: tf.matmul(a, b), jit_compile=True)
    assert CALL in program(compiled_by_xla(tf.matmul), a, b)
    assert CALL not in program(plain, a, b)
    operations = tf.function(lambda a, b: tf.matmul(a, b)).get_concrete_function(a, b).graph
    assert "MatMul" in {operation.type for operation in operations.get_operations()}
    # A program for another machine has none, whatever is asked for within.
    with onednn_products(wanted=False):
        assert CALL not in program(compiled_by_xla(tf.matmul), a, b)


@needs_onednn
@pytest.mark.parametrize("kind", [pytest.param("transformer", marks=pytest.mark.slow), "lstm"])
def test_a_model_learns_as_by_xlas_own_products(kind, monkeypatch):
    calls = []
    monkeypatch.setattr(products, "_FEWEST", 0)
    own = products.onednn_product
    monkeypatch.setattr(products, "onednn_product", lambda *args: calls.append(args) or own(*args))
    windows = make_windows(48)

    def trained():
        model = tfscale.LanguageModel(models.build_network(CONFIGS[kind], "mixed_bfloat16"))
        model.compile(keras.optimizers.SGD(0.5), xla=True)
        fitted = model.fit(*windows, batch_size=16, epochs=3, shuffle=False, verbose=0)
        return fitted.history["loss"], [weight.numpy() for weight in model.network.weights]

    with onednn_products(wanted=False):
        wanted, others = trained()
    assert not calls
    found, weights = trained()
    assert calls
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
