"""A file in int8 holds what training for int8 rounded: the numbers and the scales, weight by weight."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.schema_py_generated import TensorType
from ai_edge_litert.tools import flatbuffer_utils

from tests.slow import slow_but
from tfscale.config import BiLSTMConfig
from tfscale.exporting.prediction import prediction_file
from tfscale.exporting.samples import read_samples
from tfscale.exporting.scoring import scoring_file
from tfscale.exporting.tflite import convert_other, signatures
from tfscale.models import build_network
from tfscale.models.decoding import cached_model
from tfscale.models.weight_formats import WeightFormat, rounded, scale_bytes, weight_formats

T, V = 8, 67


def of_layers(*parts):
    keras.utils.set_random_seed(2)
    ids = x = keras.Input((None,), dtype="int32")
    for part in parts:
        x = part(x)
    return keras.Model(ids, keras.layers.Dense(V)(x))


def decoders():
    return of_layers(
        keras_hub.layers.TokenAndPositionEmbedding(V, 2 * T, 16),
        keras_hub.layers.TransformerDecoder(24, 2),
    )


def embedded(*layers):
    return of_layers(keras.layers.Embedding(V, 16), *layers)


def attention(x):
    return x + keras.layers.MultiHeadAttention(2, 6)(x, x, use_causal_mask=True)


MODELS = {
    "decoders of keras-hub": decoders,
    "attention": lambda: embedded(attention),
    "lstm": lambda: embedded(keras.layers.LSTM(12, return_sequences=True)),
    "lstm in a loop": lambda: embedded(
        keras.layers.LSTM(12, return_sequences=True, activation="relu")
    ),
    "gru": lambda: embedded(keras.layers.GRU(12, return_sequences=True)),
    "convolution": lambda: embedded(keras.layers.Conv1D(12, 3, padding="causal")),
    "bilstm": lambda: build_network(
        BiLSTMConfig(vocabulary_size=V, sequence_length=T, embedding_dim=8, hidden_dim=12)
    ),
}


def rounded_numbers(content):
    """The int8 constants of a file as the numbers that they stand for, and how many scales each has."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    found = {}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            data = model.buffers[tensor.buffer].data
            if tensor.type != TensorType.INT8 or data is None:
                continue
            scale = np.asarray(tensor.quantization.scale, np.float32)
            shape = [1] * len(tensor.shape)
            shape[tensor.quantization.quantizedDimension if len(scale) > 1 else 0] = len(scale)
            found[tensor.buffer] = (
                np.frombuffer(data, np.int8).reshape(tensor.shape) * scale.reshape(shape),
                len(scale),
            )
    return list(found.values())


def expected_numbers(network):
    """The matrices that training rounds, each gate of a fused LSTM by itself."""
    for weight in network.weights:
        form = weight_formats(network, "int8")[weight.path]
        if form.bits == 8:
            value = rounded(tf.convert_to_tensor(weight.value), form).numpy()
            parts = np.split(value, form.gates, axis=1) if form.gates else [value]
            scales = 1 if form.gates else form.scales_of(value.shape)
            yield from ((part, scales) for part in parts)


@pytest.mark.parametrize("name", MODELS)
def test_training_rounds_what_the_file_rounds(name):
    network = MODELS[name]()
    network(np.zeros((1, T), "int32"))
    found = rounded_numbers(scoring_file(network, T, "int8"))
    expected = list(expected_numbers(network))
    assert len(expected) == len(found) > 1

    # A file lays matrices out in its own order of axes: the numbers are the same, sorted.
    def sorted_numbers(parts):
        return sorted((np.sort(part.reshape(-1)).tolist(), scales) for part, scales in parts)

    for (have, scales), (want, wanted_scales) in zip(
        sorted_numbers(found), sorted_numbers(expected), strict=True
    ):
        np.testing.assert_allclose(have, want, atol=1e-7)
        assert scales == wanted_scales


def test_training_rounds_the_kernels_of_convolutions_as_the_file_does():
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3),
            layers.DepthwiseConv2D(2, depth_multiplier=2),
            layers.SeparableConv2D(5, 2),
            layers.Conv2DTranspose(4, 2),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    images = np.random.default_rng(0).random((2, 8, 8, 3)).astype("float32")
    samples = read_samples(network, images, None)
    found = rounded_numbers(prediction_file(network, samples, samples.tensors(1), "int8"))
    expected = list(expected_numbers(network))

    def sorted_numbers(parts):
        return sorted((scales, np.sort(part.reshape(-1)).tolist()) for part, scales in parts)

    # By hand: the outputs of each layer, of which a depthwise one has two a channel.
    assert sorted(scales for _, scales in expected) == [3, 4, 5, 6, 12, 12]
    for (scales, have), (wanted_scales, want) in zip(
        sorted_numbers(found), sorted_numbers(expected), strict=True
    ):
        np.testing.assert_allclose(have, want, atol=1e-7)
        assert scales == wanted_scales


def test_formats_of_other_layers():
    forms = {path: form for path, form in weight_formats(decoders(), "int8").items()}

    def of(part):
        return next(form for path, form in forms.items() if part in path)

    assert of("token_embedding/embeddings") == WeightFormat(8, axis=1)
    assert of("position_embedding/embeddings") == WeightFormat(32)
    assert of("query/kernel") == WeightFormat(
        8, axis=(0,)
    )  # (16, 2, 8): a scale per head and place
    assert of("attention_output/kernel") == WeightFormat(8, axis=(0, 1))
    assert (
        of("query/kernel").scales_of((16, 2, 8)) == 16
        and of("attention_output/kernel").scales_of((2, 8, 16)) == 16
    )
    lstm = weight_formats(MODELS["lstm"](), "int8")
    assert {form.gates for path, form in lstm.items() if "kernel" in path and "lstm" in path} == {4}
    # By hand: 67 rows, 4 gates of two matrices, 67 outputs.
    assert scale_bytes(MODELS["lstm"](), "int8") == 12 * (67 + 4 + 4 + 67)


def gemma3(vocabulary_size=300, hidden_dim=16, intermediate_dim=20, head_dim=8):
    """A tied one with drawn weights: keras-hub draws the same keys and values, which the converter would store once."""
    backbone = keras_hub.models.Gemma3Backbone(
        vocabulary_size=vocabulary_size,
        num_layers=1,
        hidden_dim=hidden_dim,
        intermediate_dim=intermediate_dim,
        num_query_heads=2,
        num_key_value_heads=1,
        head_dim=head_dim,
        image_size=16,
        vision_encoder=None,
    )
    rng = np.random.default_rng(0)
    backbone.set_weights([rng.normal(size=weight.shape) for weight in backbone.get_weights()])
    return keras_hub.models.Gemma3CausalLM(backbone=backbone, preprocessor=None)


def test_the_table_of_a_tied_model_is_stored_once():
    model = cached_model(gemma3(), T, 300)
    found = rounded_numbers(convert_other(model, signatures(model, []), "int8"))
    assert [scales for numbers, scales in found if numbers.size == 300 * 16] == [300]
    assert sorted(part.size for part, _ in found) == sorted(
        part.size for part, _ in expected_numbers(model)
    )


def by_numbers(part):
    """Key that pairs matrices of a size: their lowest number alone may be the same."""
    return part.size, np.round(part, 4).tolist()


def numbers_in_blocks(content):
    """The int4 constants of a file as the numbers that they stand for, sorted."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    found = {}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            data = model.buffers[tensor.buffer].data
            if tensor.type != TensorType.INT4 or data is None:
                continue
            details = tensor.quantization.details
            scales = model.buffers[subgraph.tensors[details.scales].buffer].data
            pairs = np.frombuffer(data, np.uint8)
            codes = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1, details.blockSize)
            codes = np.where(codes > 7, codes.astype(np.int32) - 16, codes)
            scales = np.frombuffer(scales, np.float16).astype(np.float32)
            found[tensor.buffer] = np.sort((codes * scales[:, None]).reshape(-1))
    return sorted(found.values(), key=by_numbers)


def grouped():
    """Projections of grouped attention have kernels of three axes, the last one sums over two."""
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(V, 32)(ids)
    x = x + keras.layers.GroupQueryAttention(16, 2, 1, name="attention")(x, x, use_causal_mask=True)
    x = keras.layers.Conv1D(32, 3, padding="causal")(x)
    return keras.Model(ids, keras.layers.Dense(V)(x))


@pytest.mark.parametrize(
    "quantize, matrices", slow_but([("int4", 7), ("int4_all", 8)], ("int4", 7))
)
def test_blocks_of_a_causal_lm_are_what_training_rounds(quantize, matrices):
    model = cached_model(gemma3(64, 64, 96, 32), T, 64)
    found = numbers_in_blocks(convert_other(model, signatures(model, [4]), quantize))
    compare_blocks(model, found, quantize, matrices)


def test_blocks_of_a_users_model_are_what_training_rounds():
    """Kernels of convolutions have none, and neither has a table.

    The converter multiplies the queries' kernel by the scale of the scores, 1/4, which is exact.
    """
    model = cached_model(grouped(), T, V)
    found = numbers_in_blocks(convert_other(model, signatures(model, []), "int4"))
    compare_blocks(model, found, "int4", 5, {"attention/query/kernel": 0.25})


@pytest.mark.parametrize("quantize, kept", [("int4", True), ("int4_all", False)])
def test_weak_rows_of_a_table_are_zero_in_int4_alone(quantize, kept):
    network = grouped()
    table = np.random.default_rng(0).normal(size=(V, 32)).astype(np.float32)
    table[5] = 1e-4  # Of int4 the scale would be below the normal numbers of float16.
    network.layers[1].embeddings.assign(table)
    model = cached_model(network, T, V)
    content = convert_other(model, signatures(model, []), quantize)
    rows = [part for part, _ in rounded_numbers(content) if part.shape == (V, 32)]
    matrices = [part for part in numbers_in_blocks(content) if part.size == table.size]
    if kept:
        np.testing.assert_allclose(rows[0][5], table[5], atol=1e-7)
    else:
        assert not rows and any((part == 0).sum() >= 32 for part in matrices)


def compare_blocks(model, found, quantize, matrices, factors=None):
    formats, factors = weight_formats(model, quantize), factors or {}
    expected = [
        np.sort(rounded(tf.convert_to_tensor(weight.value), formats[weight.path]).numpy().ravel())
        * factors.get(weight.path, 1)
        for weight in model.weights
        if formats[weight.path].bits == 4
    ]
    expected.sort(key=by_numbers)
    assert [part.size for part in found] == [part.size for part in expected]
    assert len(found) == matrices
    for have, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(have, want, atol=1e-6)


def test_signatures_of_one_size_are_rounded():
    """Prefill calls of two lengths have as many tensors, and the quantizer wants names that differ."""
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(300, 16)(ids)
    x = x + keras.layers.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True)
    model = cached_model(keras.Model(ids, keras.layers.Dense(300)(x)), T, 300)
    found = rounded_numbers(convert_other(model, signatures(model, [2, 4]), "int8"))
    assert [scales for numbers, scales in found if numbers.size == 300 * 16] == [300, 300]
