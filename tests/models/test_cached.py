"""Caches are written by plain TensorFlow, except in what becomes a .tflite file."""

import numpy as np
import pytest
import tensorflow as tf

from tests.gpt2 import gpt2
from tfscale.config import LSTMConfig, NNLMConfig
from tfscale.exporting.flatbuffer import operations
from tfscale.exporting.tflite import export_tflite
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models import build_network
from tfscale.models.cached import tracing_for_tflite, write_cache

CONFIG = gpt2(vocabulary_size=11, sequence_length=8, hidden_dim=8, num_layers=1, num_heads=2)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("length", "start"), [(1, 0), (1, 6), (3, 2), (3, 4), (7, 0)])
def test_both_operations_write_the_same(rows, length, start):
    rng = np.random.default_rng(0)
    cache, new = (rng.normal(size=(rows, size, 2, 4)).astype("float32") for size in (7, length))
    expected = cache.copy()
    expected[:, start : start + length] = new
    positions = tf.range(start, start + length)
    plain = write_cache(tf.constant(cache), tf.constant(new), positions)
    with tracing_for_tflite():
        for_tflite = tf.function(write_cache)(tf.constant(cache), tf.constant(new), positions)
    np.testing.assert_array_equal(plain, expected)
    np.testing.assert_array_equal(for_tflite, expected)


def test_a_network_decodes_without_operations_of_xla_and_its_file_has_tflites_own():
    network = build_network(CONFIG, seed=1)
    decoder = KerasDecoder(network, prefill_lengths=[4])
    for function in (decoder._decode, decoder._prefill[4]):
        found = {
            operation.type for operation in function.get_concrete_function().graph.get_operations()
        }
        assert "TensorScatterUpdate" in found
        assert not [name for name in found if name.startswith("Xla")]
        # It makes TensorFlow copy the table whenever it is read from then on.
        assert "ResourceGather" not in found
    [counts] = operations(export_tflite(network, prefill_lengths=[])).values()
    assert counts["DYNAMIC_UPDATE_SLICE"] == 2


@pytest.mark.parametrize("kind", [LSTMConfig, NNLMConfig])
def test_other_families_do_not_look_up_in_the_variable_itself(kind):
    network = build_network(kind(vocabulary_size=11, sequence_length=8, embedding_dim=8))
    graph = KerasDecoder(network, prefill_lengths=[])._decode.get_concrete_function().graph
    found = {operation.type for operation in graph.get_operations()}
    assert "GatherV2" in found and "ResourceGather" not in found
