"""Files whose weights were put in after the conversion, beside the converter's own files rounded by litert-quantizer."""

import functools

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.schema_py_generated import BlockwiseQuantizationT, TensorType
from ai_edge_litert.tools import flatbuffer_utils

from tests.exporting.exported import PREFILL_LENGTHS
from tests.slow import slow_but
from tfscale.config import GRUConfig, LSTMConfig, NNLMConfig, RNNConfig, TransformerConfig
from tfscale.exporting import streamed
from tfscale.exporting.converter import silence
from tfscale.exporting.flatbuffer import operations
from tfscale.exporting.rounding import round_weights
from tfscale.exporting.tflite import convert, export_tflite, signatures
from tfscale.models import build_network
from tfscale.models.cached import tracing_for_tflite

SIZE = {"vocabulary_size": 67, "sequence_length": 8}
GEMMA_3 = TransformerConfig(
    hidden_dim=64,
    num_layers=3,
    num_heads=4,
    num_kv_heads=1,
    head_dim=16,
    feed_forward_dim=96,
    positions="rope",
    normalization="rms",
    activation="geglu",
    scale_embeddings=True,
    query_key_norm=True,
    sandwich_norm=True,
    attention_window=5,
    global_every=3,
    rope_base=1_000_000.0,
    local_rope_base=10_000.0,
    use_bias=False,
    logit_soft_cap=3.0,
    **SIZE,
)
CONFIGS = {
    "gemma 3": GEMMA_3,
    "two tables": TransformerConfig(
        hidden_dim=32, num_layers=1, num_heads=2, tie_embeddings=False, use_bias=True, **SIZE
    ),
    "relu in blocks": TransformerConfig(
        hidden_dim=32, num_layers=1, num_heads=2, activation="relu_squared", use_bias=True, **SIZE
    ),
    "narrow": TransformerConfig(
        hidden_dim=32, num_layers=2, num_heads=2, embedding_rank=16, feed_forward_rank=8, **SIZE
    ),
    "lstm": LSTMConfig(embedding_dim=24, hidden_dim=32, tie_embeddings=True, **SIZE),
    "gru": GRUConfig(embedding_dim=16, hidden_dim=32, **SIZE),
    "rnn": RNNConfig(embedding_dim=32, hidden_dim=32, **SIZE),
    "nnlm": NNLMConfig(
        context_tokens=4, embedding_dim=32, hidden_dim=64, direct_connections=True, **SIZE
    ),
}


def random_network(config):
    network = build_network(config)
    rng = np.random.default_rng(5)
    for weight in network.weights:
        values = rng.normal(0, 0.3, weight.shape)
        weight.assign(values + (1.0 if weight.name in ("gamma", "scale") else 0.0))
    return network


def outputs(content, name, kernels):
    """What a signature gives for random inputs."""
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kernels)
    runner = interpreter.get_signature_runner(name)
    rng = np.random.default_rng(1)
    given = {}
    for key, detail in sorted(runner.get_input_details().items()):
        shape = tuple(detail["shape"])
        if key == "tokens":
            given[key] = rng.integers(0, SIZE["vocabulary_size"], shape).astype(np.int32)
        elif key == "input_pos":
            given[key] = np.arange(*shape, dtype=np.int32)
        else:
            given[key] = rng.normal(0, 1, shape).astype(np.float32)
    return runner(**given)


def stored(content):
    """The matrices of a file: type, numbers, scales, and how often each stands there."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    found = {}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is None or len(tensor.shape) != 2 or tensor.type == TensorType.FLOAT16:
                continue
            quantization, scales = tensor.quantization, b""
            if isinstance(getattr(quantization, "details", None), BlockwiseQuantizationT):
                place = subgraph.tensors[quantization.details.scales].buffer
                scales = bytes(model.buffers[place].data)
            elif quantization is not None and quantization.scale is not None:
                scales = np.asarray(quantization.scale, np.float32).tobytes()
            found[tensor.buffer] = (tensor.type, tuple(tensor.shape), bytes(data), scales)
    return sorted(found.values())


@functools.cache
def in_float32(name):
    """A network and the file that the converter makes of it with its weights."""
    network = random_network(CONFIGS[name])
    with tracing_for_tflite():
        functions = signatures(network, PREFILL_LENGTHS[:1])
    return network, convert(network, functions, "none")


@pytest.mark.parametrize(
    "name, quantize",
    slow_but(
        [
            *(("gemma 3", quantize) for quantize in ("none", "int8", "int4", "int4_all")),
            ("two tables", "int4_all"),
            ("relu in blocks", "int4"),
            ("narrow", "int8"),
            ("lstm", "int8"),
            ("gru", "int4"),
            ("rnn", "int4_all"),
            ("nnlm", "int8"),
        ],
        ("gemma 3", "int4"),
    ),
)
def test_the_file_is_that_of_converter_and_quantizer(name, quantize, monkeypatch):
    monkeypatch.setattr(streamed, "_PART", 1000)  # Several parts for each weight.
    network, expected = in_float32(name)
    if quantize != "none":
        with silence():
            expected = round_weights(expected, quantize)
    content = export_tflite(network, quantize, PREFILL_LENGTHS[:1])
    assert stored(content) == stored(expected)
    # Operations in another order are the same ones.
    assert operations(content) == operations(expected)
    signatures_of = Interpreter(model_content=expected).get_signature_list()
    for signature in signatures_of:
        for kernels in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
            ours = outputs(content, signature, kernels)
            theirs = outputs(expected, signature, kernels)
            assert ours.keys() == theirs.keys()
            for key in ours:
                np.testing.assert_array_equal(ours[key], theirs[key])
