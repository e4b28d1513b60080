"""float16: weights are halved, and the numbers of formulas are not."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import TensorType
from ai_edge_litert.tools import flatbuffer_utils

from tests.exporting.exported import PREFILL_LENGTHS, check_parity, write_folder
from tests.exporting.test_skeleton import random_network
from tests.slow import slow_but
from tfscale.config import GRUConfig, LSTMConfig, TransformerConfig
from tfscale.exporting.rounded import rounded_in_place
from tfscale.exporting.scoring import scoring_file
from tfscale.exporting.tflite import export_tflite
from tfscale.text.tokenizers import train_tokenizer

# 1 / sqrt(24), and most frequencies, are no float16.
SIZE = {"vocabulary_size": 257, "sequence_length": 512}
ROTARY = TransformerConfig(hidden_dim=48, num_layers=2, num_heads=2, norm_epsilon=1e-8, **SIZE)
LEARNED = TransformerConfig(
    hidden_dim=48, num_layers=1, num_heads=2, positions="learned", use_bias=True, **SIZE
)
CONFIGS = {
    "rotary": ROTARY,
    "learned": LEARNED,
    "lstm": LSTMConfig(embedding_dim=24, hidden_dim=24, **SIZE),
    "gru": GRUConfig(embedding_dim=24, hidden_dim=24, **SIZE),
}


def constants(content):
    """(float32 or float16, shape) of the float constants of a file."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    kinds = {TensorType.FLOAT32: "float32", TensorType.FLOAT16: "float16"}
    found = set()
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            if tensor.type in kinds and model.buffers[tensor.buffer].data is not None:
                found.add((kinds[tensor.type], tuple(map(int, tensor.shape))))
    return found


@pytest.mark.parametrize("name", slow_but(list(CONFIGS), "learned", "gru"))
def test_a_file_computes_with_rounded_weights_and_exact_formulas(name, tmp_path):
    """To the end of a long context: frequencies in float16 would turn there by 0.02 too much."""
    network, tokenizer = random_network(CONFIGS[name]), train_tokenizer("byte", [], 257)
    content = export_tflite(network, "float16", PREFILL_LENGTHS)
    for kind, shape in constants(content):
        assert (kind == "float16") == (sum(size > 1 for size in shape) > 1), shape
    held_out = np.random.default_rng(0).integers(0, 256, 520).tolist()
    path = write_folder(tmp_path, content, network, tokenizer, "float16")
    report = check_parity(network, tokenizer, path, held_out, quantize="float16")
    errors = {row["name"]: row["value"] for row in report["checks"] if "logit_error" in row["name"]}
    assert report["passed"] and max(errors.values()) < 5e-6


def test_vectors_of_a_network_are_not_rounded():
    network = random_network(LEARNED)
    before = {weight.path: weight.numpy() for weight in network.weights}
    with rounded_in_place(network, "float16"):
        for weight in network.weights:
            value = before[weight.path]
            expected = value.astype(np.float16) if value.ndim > 1 else value
            np.testing.assert_array_equal(weight.numpy(), expected.astype(np.float32))


def test_the_bias_of_a_gru_is_two_vectors():
    """A window's file, in which all of them are constants."""
    ids = keras.Input((6,), dtype="int32")
    hidden = keras.layers.GRU(8, return_sequences=True)(keras.layers.Embedding(9, 8)(ids))
    model = keras.Model(ids, keras.layers.Dense(9)(hidden))
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    found = constants(scoring_file(model, 6, "float16"))
    assert {shape for kind, shape in found if kind == "float16"} >= {(9, 8), (24, 8)}
    assert all(np.prod(shape) == max((1, *shape)) for kind, shape in found if kind == "float32")


class Masked(keras.layers.Layer):
    def call(self, scores):
        return scores + np.triu(np.full((4, 4), -1e9, np.float32), 1)


def test_a_mask_that_float16_cannot_hold_stays():
    ids = keras.Input((4,), dtype="int32")
    model = keras.Model(ids, Masked()(keras.layers.Dense(4)(keras.layers.Embedding(9, 8)(ids))))
    content = scoring_file(model, 4, "float16")
    assert {("float16", (9, 8)), ("float16", (4, 8)), ("float32", (4, 4))} <= constants(content)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    tokens = np.int32([[1, 2, 3, 4]])
    logits = interpreter.get_signature_runner()(tokens=tokens)["logits"]
    np.testing.assert_allclose(logits, model(tokens), rtol=2e-3, atol=1e-4)
