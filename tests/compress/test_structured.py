"""Units that leave: those that nobody reads leave without a trace, and the rest is what was asked for."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.equivalence_worker import make_windows
from tests.gpt2 import gpt2
from tfscale import models
from tfscale.compress import shrink_feed_forward, shrink_heads, shrink_lstm
from tfscale.compress.factorize import (
    factorize_embedding,
    factorize_feed_forward,
    factorize_output,
)
from tfscale.compress.structured import rank
from tfscale.config import LSTMConfig
from tfscale.errors import ConfigError
from tfscale.models.shrinking import factorize

IDS = make_windows(5)[0]
TRANSFORMER = gpt2(vocabulary_size=50, sequence_length=12, hidden_dim=8, num_layers=2, num_heads=2)
LSTM = LSTMConfig(
    vocabulary_size=50, sequence_length=12, embedding_dim=7, hidden_dim=10, num_layers=2
)


def random_weights(network):
    """Every weight at random, biases and norms too."""
    rng = np.random.default_rng(3)
    for weight in network.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return network


MODERN = {"query_key_norm": True, "activation": "relu_squared", "embedding_skip": True}
LAYERS = {
    "positions": "rope",
    "sandwich_norm": True,
    "query_key_value_bias": True,
    "attention_window": 4,
    "global_every": 2,
    "local_rope_base": 50.0,
    "query_scale_dim": 5,
}


@pytest.mark.parametrize("changes", [{"use_bias": True}, {"use_bias": False}, MODERN, LAYERS])
def test_feed_forward_units_that_nobody_reads_leave_without_a_trace(changes):
    config = gpt2(**{**vars(TRANSFORMER), **changes})
    network = random_weights(models.build_network(config, seed=1))
    dead = np.arange(0, 32, 2)
    for block in network.blocks:
        kernel = block.contract.kernel.numpy()
        kernel[dead] = 0
        block.contract.kernel.assign(kernel)
    small = shrink_feed_forward(network, 16)
    assert small.config.feed_forward_dim == 16 and network.config == config
    np.testing.assert_allclose(small(IDS), network(IDS), atol=2e-5)
    assert small.count_params() == models.parameter_count(small.config) < network.count_params()
    np.testing.assert_array_equal(
        small.blocks[1].expand.kernel.numpy(), network.blocks[1].expand.kernel.numpy()[:, 1::2]
    )


@pytest.mark.parametrize("changes", [{"use_bias": True}, {"use_bias": False}, MODERN, LAYERS])
def test_heads_that_nobody_reads_leave_without_a_trace(changes):
    config = gpt2(**{**vars(TRANSFORMER), "num_heads": 4, **changes})
    network = random_weights(models.build_network(config, seed=1))
    for block, dead in zip(network.blocks, ([0, 2], [1, 3]), strict=True):
        kernel = block.attention.output_projection.kernel.numpy().reshape(4, 2, 8)
        kernel[dead] = 0
        block.attention.output_projection.kernel.assign(kernel.reshape(8, 8))
    small = shrink_heads(network, 2)
    assert (small.config.num_heads, small.config.head_dim) == (2, 2)
    np.testing.assert_allclose(small(IDS), network(IDS), atol=2e-5)
    assert small.count_params() == models.parameter_count(small.config) < network.count_params()
    assert small.cache_spec()["kv_cache_k_0"] == (1, 12, 2, 2)


def test_heads_leave_where_their_number_was_said_twice():
    twice = dataclasses.replace(TRANSFORMER, num_kv_heads=TRANSFORMER.num_heads)
    small = shrink_heads(random_weights(models.build_network(twice)), 1)
    assert (small.config.num_heads, small.config.kv_heads) == (1, 1)


@pytest.mark.parametrize("tied", [False, True])
def test_lstm_units_that_nobody_reads_leave_without_a_trace(tied):
    network = random_weights(
        models.build_network(LSTMConfig(**{**vars(LSTM), "tie_embeddings": tied}), seed=1)
    )
    dead = np.array([0, 3, 4, 9])
    last = network.projection if tied else network.output_layer
    readers = [network.recurrent_layers[1].cell.kernel, last.kernel]
    for layer, reader in zip(network.recurrent_layers, readers, strict=True):
        for weight in (layer.cell.recurrent_kernel, reader):
            rows = weight.numpy()
            rows[dead] = 0
            weight.assign(rows)
    small = shrink_lstm(network, 6)
    assert small.config.hidden_dim == 6
    np.testing.assert_allclose(small(IDS), network(IDS), atol=1e-5)
    assert small.count_params() == models.parameter_count(small.config) < network.count_params()


def test_the_strongest_units_stay_in_their_order():
    network = random_weights(models.build_network(TRANSFORMER, seed=1))
    block = network.blocks[0]
    expand, contract = np.full((8, 32), 0.1), np.full((32, 8), 0.1)
    expand[:, [30, 4]] = 1.0  # strong by what they read
    contract[[7, 19]] = 2.0  # strong by who reads them
    expand[:, 11] = contract[11] = 0.5  # 0.5 x 0.5 is more than 1.0 x 0.1
    block.expand.kernel.assign(expand)
    block.contract.kernel.assign(contract)
    small = shrink_feed_forward(network, 3).blocks[0]
    np.testing.assert_array_equal(small.contract.kernel.numpy()[:, 0], np.float32([2.0, 0.5, 2.0]))
    np.testing.assert_array_equal(small.expand.kernel.numpy()[0], np.float32([0.1, 0.5, 0.1]))


def loss_of(network, batch):
    ids, targets, weights = batch
    logits = tf.cast(network(ids), tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    return float(tf.reduce_mean(losses * weights))


def scaled_by(weights, factor):
    """Multiplies the parts of weights at the given places, and the way back."""
    for weight, place in weights:
        value = weight.numpy()
        value[place] *= factor
        weight.assign(value)


@pytest.mark.parametrize("kind", ["feed_forward", "heads", "lstm"])
def test_saliency_is_the_change_of_the_loss_to_first_order(kind):
    network = random_weights(models.build_network(LSTM if kind == "lstm" else TRANSFORMER, seed=1))
    ids, targets, *_ = make_windows(4)
    batch = (ids, targets, np.ones(ids.shape, np.float32))
    if kind == "lstm":
        cell, reader = network.recurrent_layers[0].cell, network.recurrent_layers[1].cell.kernel
        gates = np.arange(4) * 10 + 3
        # The recurrent kernel has both what unit 3 reads and its being read: the gates of unit 3 twice.
        parts = [
            (cell.kernel, np.s_[:, gates]),
            (cell.recurrent_kernel, np.s_[:, gates]),
            (cell.recurrent_kernel, np.s_[3]),
            (reader, np.s_[3]),
        ]
        group, unit = network.unit_groups("lstm_units", 5)[0], 3
    elif kind == "heads":
        attention = network.blocks[0].attention
        parts = [
            (attention.query_key_value.kernel, np.s_[:, np.r_[4:8, 12:16, 20:24]]),
            (attention.output_projection.kernel, np.s_[4:8]),
        ]
        group, unit = network.unit_groups("num_heads", 1)[0], 1
    else:
        block = network.blocks[0]
        parts, unit = [(block.expand.kernel, np.s_[:, 5]), (block.contract.kernel, np.s_[5])], 5
        group = network.unit_groups("feed_forward_dim", 16)[0]
    (scores,) = rank(network, [group], [batch])
    small = 1e-2
    scaled_by(parts, 1 + small)
    above = loss_of(network, batch)
    scaled_by(parts, (1 - small) / (1 + small))
    below = loss_of(network, batch)
    assert scores[unit] == pytest.approx(abs(above - below) / (2 * small), rel=0.03)
    assert len(scores) == {"lstm": 10, "heads": 2, "feed_forward": 32}[kind]


def test_units_of_a_gated_layer_leave_with_their_gates():
    """The weak half of the units, spread at random, is multiplied by next to nothing: they are what leaves."""
    config = dataclasses.replace(TRANSFORMER, activation="swiglu", use_bias=True)
    network = random_weights(models.build_network(config))
    rng = np.random.default_rng(3)
    for block in network.blocks:
        weak = rng.permutation(32)[:16]
        kernel = block.contract.kernel.numpy()
        kernel[weak] *= 1e-7
        block.contract.kernel.assign(kernel)
    small = shrink_feed_forward(network, 16)
    assert small.blocks[0].expand.kernel.shape == (TRANSFORMER.hidden_dim, 32)
    np.testing.assert_allclose(small(IDS), network(IDS), atol=1e-4)


def test_saliency_keeps_what_the_loss_needs():
    network = random_weights(models.build_network(TRANSFORMER, seed=1))
    block = network.blocks[0]
    # Strong by who reads it, but its output is always 0.
    kernel = block.expand.kernel.numpy()
    kernel[:, 0] = 0.0
    block.expand.kernel.assign(kernel)
    contract = block.contract.kernel.numpy()
    contract[0] = 50.0
    block.contract.kernel.assign(contract)
    ids, targets, *_ = make_windows(4)
    groups = network.unit_groups("feed_forward_dim", 16)
    scores = rank(network, groups, [(ids, targets)])[0]
    assert scores[0] == 0.0 and (scores[1:] > 0).all()


def test_factors_are_the_nearest_of_their_rank():
    matrix = np.random.default_rng(0).normal(size=(12, 7))
    left, right = factorize(matrix, 3)
    values = np.linalg.svd(matrix, compute_uv=False)
    assert left.shape == (12, 3) and right.shape == (3, 7)
    assert np.linalg.norm(matrix - left @ right) == pytest.approx(
        np.sqrt((values[3:] ** 2).sum()), rel=1e-5
    )


def low_rank(weight, rank):
    rng = np.random.default_rng(5)
    rows, columns = weight.shape
    weight.assign(rng.normal(0, 0.5, (rows, rank)) @ rng.normal(0, 0.5, (rank, columns)))


def test_matrices_of_low_rank_are_factorized_without_a_trace():
    network = random_weights(models.build_network(gpt2(**{**vars(TRANSFORMER), "use_bias": True})))
    for block in network.blocks:
        low_rank(block.expand.kernel, 3)
        low_rank(block.contract.kernel, 3)
    low_rank(network.token_embedding.embeddings, 4)
    expected = network(IDS).numpy()
    small = factorize_embedding(factorize_feed_forward(network, 3), 4)
    assert (small.config.feed_forward_rank, small.config.embedding_rank) == (3, 4)
    np.testing.assert_allclose(small(IDS), expected, atol=2e-4)
    assert small.count_params() == models.parameter_count(small.config) < network.count_params()
    smaller = factorize_embedding(small, 3)  # once more, from a factorized one
    assert smaller.config.embedding_rank == 3 and smaller.widen.kernel.shape == (3, 8)
    # Units of a layer of low rank can leave too.
    assert shrink_feed_forward(small, 16).count_params() < small.count_params()


@pytest.mark.parametrize(
    "changes", [{}, {"tie_embeddings": True}, {"tie_embeddings": True, "embedding_dim": 10}]
)
def test_an_lstm_table_of_low_rank(changes):
    network = random_weights(models.build_network(LSTMConfig(**{**vars(LSTM), **changes})))
    low_rank(network.token_embedding.embeddings, 4)
    small = factorize_embedding(network, 4)
    np.testing.assert_allclose(small(IDS), network(IDS), atol=2e-4)
    assert small.config.embedding_dim == 4 and small.count_params() == models.parameter_count(
        small.config
    )


def test_an_lstm_output_of_low_rank():
    network = random_weights(models.build_network(LSTM))
    low_rank(network.output_layer.kernel, 3)
    small = factorize_output(network, 3)
    np.testing.assert_allclose(small(IDS), network(IDS), atol=1e-4)
    assert small.count_params() < network.count_params()
    assert shrink_lstm(small, 6).config.hidden_dim == 6


@pytest.mark.parametrize(
    "function,config,value,message",
    [
        (
            factorize_feed_forward,
            TRANSFORMER,
            7,
            r"feed_forward_rank=7 saves nothing here; expected 1 to 6",
        ),
        (
            factorize_embedding,
            TRANSFORMER,
            8,
            r"embedding_rank=8 saves nothing here; expected 1 to 7",
        ),
        (factorize_output, LSTM, 9, r"output_rank=9 saves nothing here; expected 1 to 8"),
        (factorize_output, TRANSFORMER, 3, "output_rank is for an LSTM"),
        (
            factorize_feed_forward,
            LSTM,
            3,
            "feed_forward_rank is for a Transformer, and this is LSTMLM",
        ),
        (
            factorize_embedding,
            gpt2(**{**vars(TRANSFORMER), "vocabulary_size": 5}),
            6,
            r"embedding_rank=6 saves nothing here; expected 1 to 5",
        ),
        (shrink_heads, TRANSFORMER, 2, "num_heads=2 is out of range; expected 1 to 1"),
        (
            factorize_embedding,
            LSTMConfig(**{**vars(LSTM), "embedding_dim": 12, "tie_embeddings": True}),
            10,
            "embedding_rank=10 is the number of units",
        ),
    ],
)
def test_ranks_that_save_nothing(function, config, value, message):
    with pytest.raises(ConfigError, match=message):
        function(models.build_network(config), value)


@pytest.mark.parametrize(
    "shrink,config,value,message",
    [
        (shrink_feed_forward, LSTM, 4, "feed_forward_dim is for a Transformer, and this is LSTMLM"),
        (
            shrink_lstm,
            TRANSFORMER,
            4,
            "lstm_units is for a recurrent model, and this is TransformerLM",
        ),
        (
            shrink_feed_forward,
            TRANSFORMER,
            32,
            "feed_forward_dim=32 is out of range; expected 1 to 31",
        ),
        (shrink_lstm, LSTM, 10, "lstm_units=10 is out of range; expected 1 to 9"),
        (
            shrink_lstm,
            LSTMConfig(**{**vars(LSTM), "embedding_dim": 10, "tie_embeddings": True}),
            4,
            "are as wide as its 10 units, and must stay so",
        ),
        (
            shrink_lstm,
            LSTMConfig(**{**vars(LSTM), "tie_embeddings": True}),
            7,
            "lstm_units=7 .*; 6 or 8 would do",
        ),
    ],
)
def test_mistakes_are_named(shrink, config, value, message):
    with pytest.raises(ConfigError, match=message):
        shrink(models.build_network(config), value)


def test_it_survives_keras_files(tmp_path):
    small = shrink_feed_forward(random_weights(models.build_network(TRANSFORMER, seed=1)), 5)
    small.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras", compile=False)
    np.testing.assert_array_equal(again(IDS), small(IDS))
