"""Units that leave: those that nobody reads leave without a trace, and the rest is what was asked for."""

import keras
import numpy as np
import pytest

from benchmarks.equivalence_worker import make_windows
from tfscale import models
from tfscale.compression import shrink_feed_forward, shrink_lstm
from tfscale.config import LSTMConfig, TransformerConfig
from tfscale.errors import ConfigError

IDS = make_windows(5)[0]
TRANSFORMER = TransformerConfig(vocabulary_size=50, sequence_length=12, hidden_dim=8, num_layers=2, num_heads=2)
LSTM = LSTMConfig(vocabulary_size=50, sequence_length=12, embedding_dim=7, hidden_dim=10, num_layers=2)


def random_weights(network):
    """Every weight at random, biases and norms too."""
    rng = np.random.default_rng(3)
    for weight in network.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return network


@pytest.mark.parametrize("use_bias", [True, False])
def test_feed_forward_units_that_nobody_reads_leave_without_a_trace(use_bias):
    config = TransformerConfig(**{**vars(TRANSFORMER), "use_bias": use_bias})
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


@pytest.mark.parametrize("tied", [False, True])
def test_lstm_units_that_nobody_reads_leave_without_a_trace(tied):
    network = random_weights(models.build_network(LSTMConfig(**{**vars(LSTM), "tie_embeddings": tied}), seed=1))
    dead = np.array([0, 3, 4, 9])
    last = network.projection if tied else network.output_layer
    readers = [network.lstm_layers[1].cell.kernel, last.kernel]
    for layer, reader in zip(network.lstm_layers, readers, strict=True):
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


@pytest.mark.parametrize(
    "shrink,config,value,message",
    [
        (shrink_feed_forward, LSTM, 4, "feed_forward_dim is for a Transformer, and this is LSTMLM"),
        (shrink_lstm, TRANSFORMER, 4, "lstm_units is for an LSTM, and this is TransformerLM"),
        (shrink_feed_forward, TRANSFORMER, 32, "feed_forward_dim=32 is out of range; expected 1 to 31"),
        (shrink_lstm, LSTM, 10, "lstm_units=10 is out of range; expected 1 to 9"),
        (
            shrink_lstm, LSTMConfig(**{**vars(LSTM), "embedding_dim": 10, "tie_embeddings": True}), 4,
            "are as wide as its 10 units, and must stay so",
        ),
        (shrink_lstm, LSTMConfig(**{**vars(LSTM), "tie_embeddings": True}), 7, "lstm_units=7 .*; 6 or 8 would do"),
    ],
)  # fmt: skip
def test_mistakes_are_named(shrink, config, value, message):
    with pytest.raises(ConfigError, match=message):
        shrink(models.build_network(config), value)


def test_it_survives_keras_files(tmp_path):
    small = shrink_feed_forward(random_weights(models.build_network(TRANSFORMER, seed=1)), 5)
    small.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras", compile=False)
    np.testing.assert_array_equal(again(IDS), small(IDS))
