"""How weights are stored: beside the library that writes the files, and by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from litert_quantizer import qtyping
from litert_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as reference

from tests.gpt2 import gpt2
from tfscale.config import GRUConfig, LSTMConfig
from tfscale.models import build_network
from tfscale.models.recipe import block_of
from tfscale.models.weight_formats import (
    WeightFormat,
    fake_quantize,
    knows_formats,
    store,
    stored_bytes,
    weight_formats,
)


def by_the_library(weight, bits, block):
    """Rows of `weight` (outputs, inputs), as litert-quantizer stores and reads them."""
    cut = weight.reshape(len(weight), -1, block or weight.shape[1])
    granularity = (
        qtyping.QuantGranularity(f"BLOCKWISE_{block}")
        if block
        else qtyping.QuantGranularity.CHANNELWISE
    )
    zero, scale = reference.tensor_zp_scale_from_min_max(
        cut.min(-1, keepdims=True), cut.max(-1, keepdims=True), bits, True, granularity
    )
    parameters = qtyping.UniformQuantParams(
        scale=scale, zero_point=zero, num_bits=bits, symmetric=True, quantized_dimension=None
    )
    with np.errstate(invalid="ignore"):
        numbers = reference.uniform_quantize(cut, parameters)
    return (numbers * scale).reshape(weight.shape)


@pytest.mark.parametrize("bits, block", [(8, 0), (4, 32), (4, 64)])
@pytest.mark.parametrize("axis", [0, 1])
def test_rounding_is_that_of_the_files_writer(bits, block, axis):
    rows = np.random.default_rng(0).normal(size=(24, 128)).astype(np.float32)
    rows[3] = 0.0
    expected = by_the_library(rows, bits, block)
    given = rows if axis == 1 else rows.T
    found = fake_quantize(
        tf.constant(given), WeightFormat(bits=bits, axis=axis, block=block)
    ).numpy()
    np.testing.assert_allclose(found, expected if axis == 1 else expected.T, atol=1e-6)
    assert len(np.unique(np.abs(expected[0, :32]))) <= 2 ** (bits - 1) + 1


def test_a_kernel_of_three_axes_is_rounded_as_the_matrix_that_a_file_has():
    """(4, 24, 32): 4 heads of 32 are summed over, in this order, for each of 24 outputs."""
    kernel = np.random.default_rng(0).normal(size=(4, 24, 32)).astype(np.float32)
    rows = kernel.transpose(1, 0, 2).reshape(24, 128)
    form = WeightFormat(bits=4, axis=(0, 2), block=64)
    found = fake_quantize(tf.constant(kernel), form).numpy()
    expected = by_the_library(rows, 4, 64).reshape(24, 4, 32).transpose(1, 0, 2)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert form.bytes_of(kernel.shape) == 4 * 24 * 32 // 2 + 2 * 24 * 2


def test_a_block_too_weak_for_a_normal_scale_is_zero():
    weak = np.float32(6.9 * 2**-14)
    found = fake_quantize(
        tf.constant([[weak] * 32 + [0.5] * 32]), WeightFormat(bits=4, axis=1, block=32)
    ).numpy()
    assert (found[0, :32] == 0).all() and (found[0, 32:] > 0.49).all()


def test_by_hand():
    found = fake_quantize(tf.constant([[0.5, -1.0]]), WeightFormat(bits=8, axis=1)).numpy()
    np.testing.assert_allclose(found, [[64 / 127, -1.0]], atol=1e-7)


def test_rounded_weights_round_to_themselves():
    form = WeightFormat(bits=4, axis=0, block=32)
    once = fake_quantize(tf.random.stateless_normal((64, 48), (1, 2)), form)
    np.testing.assert_allclose(fake_quantize(once, form), once, atol=1e-7)


def test_gradient_passes_through():
    weight = tf.random.stateless_normal((32, 4), (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(weight)
        total = tf.reduce_sum(fake_quantize(weight, WeightFormat(bits=4, axis=0, block=32)) * 3.0)
    np.testing.assert_array_equal(tape.gradient(total, weight), np.full((32, 4), 3.0))


def test_formats_of_a_transformer():
    config = gpt2(
        vocabulary_size=100,
        sequence_length=16,
        hidden_dim=32,
        num_layers=1,
        num_heads=2,
        feed_forward_dim=48,
        tie_embeddings=False,
    )
    network = build_network(config)
    blocks, rows = WeightFormat(bits=4, axis=0, block=32), WeightFormat(bits=8, axis=1)

    def of(quantize, part):
        return next(
            form for path, form in weight_formats(network, quantize).items() if part in path
        )

    assert (
        of("int4", "token_embedding/embeddings")
        == of("int4", "position_embedding/embeddings")
        == rows
    )
    assert of("int4_all", "token_embedding/embeddings") == WeightFormat(bits=4, axis=1, block=32)
    assert of("int4", "reverse_embeddings") == of("int4", "expand/kernel") == blocks
    # Sums over 48 are not sums of whole blocks.
    assert of("int4", "contract/kernel") == WeightFormat(bits=8, axis=0)
    assert of("int8", "expand/kernel") == WeightFormat(bits=8, axis=0)
    assert of("int4", "gamma") == of("none", "expand/kernel") == WeightFormat(bits=32)
    # Two tables of 100 and of 16 rows, three norms; 32 x 96 + 32 x 32 + 32 x 48 + 32 x 100 in blocks; 48 x 32 in int8.
    in_blocks = 32 * 96 + 32 * 32 + 32 * 48 + 32 * 100
    assert (
        stored_bytes(network, "int4")
        == 116 * 32 + 4 * 3 * 32 + in_blocks // 2 + 2 * in_blocks // 32 + 48 * 32
    )


def test_formats_of_an_lstm_and_of_a_users_model():
    network = build_network(LSTMConfig(vocabulary_size=50, embedding_dim=32, hidden_dim=64))
    bits = {
        path.split("/", 1)[-1]: form.bits for path, form in weight_formats(network, "int4").items()
    }
    assert sorted(bits.values()) == [4, 4, 4, 8, 32, 32]
    own = keras.Sequential([keras.Input((8, 4)), keras.layers.Conv1D(3, 2), keras.layers.Dense(5)])
    assert {form.bits for form in weight_formats(own, "int8").values()} == {8, 32}


class Transposed(keras.layers.Dense):
    def call(self, inputs):
        return inputs @ tf.transpose(self.kernel)


def test_whose_formats_are_known():
    layers = keras.layers

    def known(*parts, dtype="float32"):
        return knows_formats(keras.Sequential([keras.Input((4,), dtype=dtype), *parts]))

    assert known(layers.Dense(4))
    assert knows_formats(build_network(LSTMConfig(vocabulary_size=9, hidden_dim=8)))
    assert not known(Transposed(4))
    assert not known(layers.SpectralNormalization(layers.Dense(4)))
    assert not known(layers.Lambda(lambda x: x, output_shape=(4,)), layers.Dense(4))
    for masked in (False, True):
        table = layers.Embedding(9, 4, mask_zero=masked)
        assert known(table, layers.LSTM(4), dtype="int32") == (not masked)
        assert known(table, layers.GlobalAveragePooling1D(), dtype="int32")


def test_block_sizes():
    assert [block_of(length) for length in (256, 128, 96, 32, 48)] == [64, 64, 32, 32, 0]


def test_biases_stay_float32_whatever_their_shape():
    """A GRU's bias has two rows, which the writer of files does not take for a matrix either."""
    formats = weight_formats(
        build_network(GRUConfig(vocabulary_size=9, embedding_dim=4, hidden_dim=4)), "int8"
    )
    assert {path.rsplit("/", 1)[1]: form.bits for path, form in formats.items()} == {
        "embeddings": 8,
        "kernel": 8,
        "recurrent_kernel": 8,
        "bias": 32,
    }


def test_float16():
    assert store(tf.constant([1.0, 1.0 + 2**-12]), WeightFormat(bits=16)).numpy().tolist() == [
        1.0,
        1.0,
    ]
