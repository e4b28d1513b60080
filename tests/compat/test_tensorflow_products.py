"""XLA on a CPU multiplies bfloat16 matrices with oneDNN: the products, their gradients, and where it does so."""

import itertools
import platform

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tests.training.tiny import CONFIGS, make_windows
from tfscale import models
from tfscale.compat import tensorflow_products as products
from tfscale.compat.tensorflow_products import has_onednn_products, onednn_products
from tfscale.training.xla import compiled_by_xla

CALL = "__onednn$matmul"
pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN is in TensorFlow for x86 alone"
)


def matrices(shape_a, shape_b, dtype=tf.bfloat16):
    rng = np.random.default_rng(0)
    return [tf.cast(rng.normal(size=shape), dtype) for shape in (shape_a, shape_b)]


def program(function, *arguments):
    """XLA's program, optimized."""
    return function.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")


def test_tensorflow_for_x86_has_the_call():
    assert has_onednn_products()


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


@pytest.mark.parametrize(
    "shape_a, shape_b, dtype",
    [((64, 64), (64, 64), tf.float32), ((2, 4), (4, 2), tf.bfloat16)],
    ids=["float32", "tiny"],
)
def test_other_products_stay_xlas(shape_a, shape_b, dtype):
    a, b = matrices(shape_a, shape_b, dtype)
    assert CALL not in program(compiled_by_xla(tf.matmul), a, b)


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


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
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
