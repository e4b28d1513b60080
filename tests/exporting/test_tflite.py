"""The contents of the files: signatures, operations, weights once, nothing on the terminal."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from tests.exporting.exported import CONFIGS, PREFILL_LENGTHS, make_file, make_network
from tests.slow import slow_but
from tfscale.errors import ExportError
from tfscale.exporting.converter import silence
from tfscale.exporting.flatbuffer import operations
from tfscale.exporting.tflite import (
    check_weights_present,
    export_tflite,
    usable_prefill_lengths,
)
from tfscale.models import parameter_count
from tfscale.models.weight_formats import stored_bytes

RECIPES = ["none", "float16", "int8", "int4", "int4_all"]
CACHE = (1, 16, 2, 16)


def interpreter_of(content):
    with silence():
        return Interpreter(model_content=content)


def constants(content):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    return sorted(
        (len(buffer.data) for buffer in model.buffers if buffer.data is not None), reverse=True
    )


@pytest.mark.parametrize("quantize", slow_but(list(RECIPES), "none", "int4_all"))
def test_transformer_signatures(quantize):
    interpreter = interpreter_of(make_file("transformer", quantize))
    caches = [f"kv_cache_{kind}_{i}" for i in range(2) for kind in "kv"]
    signatures = interpreter.get_signature_list()
    assert sorted(signatures) == ["decode", "prefill_4", "prefill_8"]
    for name, length in (("decode", 1), ("prefill_4", 4), ("prefill_8", 8)):
        assert sorted(signatures[name]["inputs"]) == sorted(
            [*caches, "input_pos", "mask", "tokens"]
        )
        assert sorted(signatures[name]["outputs"]) == sorted(
            [*caches, *(["logits"] if name == "decode" else [])]
        )
        runner = interpreter.get_signature_runner(name)
        found = {
            key: (tuple(d["shape"]), d["dtype"]) for key, d in runner.get_input_details().items()
        }
        assert found == {
            "tokens": ((1, length), np.int32),
            "input_pos": ((length,), np.int32),
            "mask": ((1, 1, length, 16), np.float32),
            **{cache: (CACHE, np.float32) for cache in caches},
        }
        outputs = runner.get_output_details()
        assert all(tuple(outputs[cache]["shape"]) == CACHE for cache in caches)
        if name == "decode":
            assert (
                tuple(outputs["logits"]["shape"]) == (1, 1, 257)
                and outputs["logits"]["dtype"] == np.float32
            )


@pytest.mark.parametrize("quantize", RECIPES)
def test_lstm_signature(quantize):
    interpreter = interpreter_of(make_file("lstm", quantize))
    assert list(interpreter.get_signature_list()) == ["decode"]
    runner = interpreter.get_signature_runner("decode")
    found = {key: (tuple(d["shape"]), d["dtype"]) for key, d in runner.get_input_details().items()}
    state = ((1, 32), np.float32)
    assert found == {"tokens": ((1, 1), np.int32), "state_h_0": state, "state_c_0": state}
    assert {key: tuple(d["shape"]) for key, d in runner.get_output_details().items()} == {
        "logits": (1, 1, 257),
        "state_h_0": (1, 32),
        "state_c_0": (1, 32),
    }


@pytest.mark.parametrize("quantize", RECIPES)
@pytest.mark.parametrize("family", list(CONFIGS))
def test_only_builtin_operations_without_loops(family, quantize):
    names = {name for counts in operations(make_file(family, quantize)).values() for name in counts}
    assert not {name for name in names if name.startswith("Flex")}
    assert "WHILE" not in names and "FULLY_CONNECTED" in names
    assert ("EMBEDDING_LOOKUP" in names) == quantize.startswith("int")


def test_decode_is_the_first_subgraph():
    assert list(operations(make_file("transformer", "int8")))[0] == "decode"


def test_stored_bytes_by_hand():
    # Embedding 257 x 24, kernels 24 x 128 and 32 x 128, projection 32 x 24; the bias has 128.
    matrices = 257 * 24 + 24 * 128 + 32 * 128 + 32 * 24
    network = make_network("lstm")
    assert parameter_count(network.config) == matrices + 128
    assert stored_bytes(network, "none") == 4 * (matrices + 128)
    assert stored_bytes(network, "float16") == 2 * matrices + 4 * 128
    assert stored_bytes(network, "int8") == matrices + 4 * 128


@pytest.mark.parametrize(
    "quantize, bytes_per_weight", [("none", 4), ("float16", 2), ("int8", 1), ("int4", 1)]
)
@pytest.mark.parametrize("family, table", [("transformer", 257 * 32), ("lstm", 257 * 24)])
def test_tied_table_is_stored_once(family, table, quantize, bytes_per_weight):
    # The converter would multiply the last normalization's scale into a second copy of the table, and the quantizer
    # would leave the copy of the lookup in float32.
    sizes = constants(make_file(family, quantize))
    largest = table * bytes_per_weight
    assert [size for size in sizes if size % table == 0] == [largest]
    weights = stored_bytes(make_network(family), quantize)
    assert weights <= sum(sizes) < 1.15 * weights + 1500


def test_prefill_lengths_above_the_context_are_left_out():
    network = make_network("transformer")
    assert usable_prefill_lengths(network, [64, 16, 8, 8, 17]) == [8, 16]
    assert usable_prefill_lengths(make_network("lstm"), [8, 64]) == []
    assert list(operations(make_file("transformer", "none"))) == [
        "decode",
        *(f"prefill_{n}" for n in PREFILL_LENGTHS),
    ]


def test_lost_weights_are_refused():
    # `from_concrete_functions` with a Keras 3 model as the trackable drops every weight and reports success.
    network = make_network("lstm")
    function = tf.function(lambda tokens: network(tokens)).get_concrete_function(
        tf.TensorSpec((1, 4), tf.int32)
    )
    with silence():
        content = tf.lite.TFLiteConverter.from_concrete_functions([function], network).convert()
    with pytest.raises(ExportError, match="the converter lost weights"):
        check_weights_present(len(content), stored_bytes(network, "none"))
    check_weights_present(len(make_file("lstm", "none")), stored_bytes(network, "none"))


def test_operation_without_builtin_is_named(monkeypatch):
    network = make_network("lstm")
    step = type(network).cached_step

    def with_inverse(self, tokens, cache, **options):
        logits, cache = step(self, tokens, cache, **options)
        return logits + tf.reduce_sum(
            tf.linalg.inv(tf.eye(3) * (2 + cache["state_h_0"][0, 0]))
        ), cache

    monkeypatch.setattr(type(network), "cached_step", with_inverse)
    with pytest.raises(ExportError, match="TFLite cannot express this network: .*MatrixInverse"):
        export_tflite(network)


def test_mixed_precision_network_gives_the_float32_file():
    content = export_tflite(make_network("lstm", "mixed_float16"))
    with silence():
        ours, float32 = (Interpreter(model_content=c) for c in (content, make_file("lstm", "none")))
    inputs = {
        "tokens": np.array([[65]], np.int32),
        **{f"state_{k}_0": np.full((1, 32), 0.1, np.float32) for k in "hc"},
    }
    first, second = (i.get_signature_runner("decode")(**inputs)["logits"] for i in (ours, float32))
    np.testing.assert_array_equal(first, second)


def test_nothing_is_printed(capfd):
    export_tflite(make_network("lstm"), "int8")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def prefill_8(content, positions):
    with silence():
        runner = Interpreter(model_content=content).get_signature_runner("prefill_8")
    mask = np.full((1, 1, 8, 16), -1e4, np.float32)
    for row, position in enumerate(positions):
        mask[0, 0, row, : position + 1] = 0
    marked = {
        f"kv_cache_{kind}_{i}": np.full(CACHE, 7.0, np.float32) for i in range(2) for kind in "kv"
    }
    outputs = runner(
        tokens=np.arange(65, 73, dtype=np.int32)[None],
        input_pos=np.array(positions, np.int32),
        mask=mask,
        **marked,
    )
    return {
        name: np.flatnonzero((cache != 7.0).any(axis=(0, 2, 3))).tolist()
        for name, cache in outputs.items()
    }


@pytest.mark.parametrize("quantize", RECIPES)
def test_prefill_writes_its_own_positions_only(quantize):
    written = prefill_8(make_file("transformer", quantize), list(range(5, 13)))
    assert written == {
        f"kv_cache_{kind}_{i}": list(range(5, 13)) for i in range(2) for kind in "kv"
    }


def test_a_call_past_the_context_is_shifted_back_over_earlier_tokens():
    # Why a prefill call must not run past the context: README.md of an export says so.
    written = prefill_8(make_file("transformer", "none"), [12, 13, 14, 15, 15, 15, 15, 15])
    assert written["kv_cache_k_0"] == list(range(8, 16))


@pytest.mark.parametrize("family", list(CONFIGS))
def test_nothing_is_kept_between_calls(family):
    with silence():
        decode = Interpreter(model_content=make_file(family, "int8")).get_signature_runner("decode")
    inputs = {
        name: np.full(detail["shape"], 3 if name == "tokens" else 0, detail["dtype"])
        for name, detail in decode.get_input_details().items()
    }
    first, second = decode(**inputs), decode(**inputs)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_model_without_cached_step_is_refused():
    with pytest.raises(ExportError, match="a Sequential cannot be exported: it has no cached_step"):
        export_tflite(keras.Sequential([keras.layers.Embedding(10, 4), keras.layers.Dense(10)]))
