"""A state that is carried from window to window: the same as one long window."""

import numpy as np
import pytest
import tensorflow as tf

from tfscale.config import GRUConfig, LSTMConfig, RNNConfig
from tfscale.models import build_network

FAMILIES = {"rnn": RNNConfig, "gru": GRUConfig, "lstm": LSTMConfig}
IDS = np.random.default_rng(0).integers(0, 20, (3, 12)).astype("int32")


def build(family, precision="float32", **options):
    """Two layers with weights that are large enough for the state to matter."""
    config = FAMILIES[family](
        vocabulary_size=20,
        sequence_length=6,
        embedding_dim=5,
        hidden_dim=7,
        num_layers=2,
        stateful=True,
        **options,
    )
    network = build_network(config, precision)
    network.set_weights([3 * weight for weight in network.get_weights()])
    return network


def in_windows(network, cuts, remat=False):
    """Logits of all tokens, read in windows that end at `cuts`, and the last states."""
    states, logits = network.first_states(3), []
    for start, end in zip([0, *cuts], [*cuts, 12], strict=True):
        hidden, states = network.carry(IDS[:, start:end], states, remat=remat)
        logits.append(network.project(hidden))
    return tf.concat(logits, 1).numpy(), states


@pytest.mark.parametrize("remat", [False, True], ids=["plain", "remat"])
@pytest.mark.parametrize("family", FAMILIES)
def test_windows_in_a_row_are_one_long_window(family, remat):
    network = build(family)
    whole, last = in_windows(network, [])
    np.testing.assert_array_equal(whole, network(IDS))
    found, states = in_windows(network, [6, 7], remat)
    np.testing.assert_allclose(found, whole, atol=1e-5)
    assert len(states) == len(network.cache_spec()) == (4 if family == "lstm" else 2)
    for one, other in zip(states, last, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(network(IDS[:, 6:]).numpy() - whole[:, 6:]).max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_state_of_mixed_precision_is_not_rounded_at_the_edge(family):
    network = build(family, "mixed_bfloat16")
    found, states = in_windows(network, [5])
    np.testing.assert_array_equal(found, network(IDS))
    assert {state.dtype for state in states} == {tf.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_that_are_left_to_keras_carry_their_state(family, monkeypatch):
    """As on a GPU, where Keras calls cuDNN."""
    network = build(family)
    whole, _ = in_windows(network, [])
    monkeypatch.setattr("tfscale.models.recurrent_layers._Sequence._left_to_keras", lambda *_: True)
    found, _ = in_windows(network, [6])
    np.testing.assert_allclose(found, whole, atol=1e-5)
    assert not any(layer.return_state for layer in network.recurrent_layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_have_the_order_of_the_cache(family):
    network = build(family)
    _, last = in_windows(network, [4])
    cache = {name: tf.zeros(shape) for name, shape in network.cache_spec().items()}
    for token in IDS[1]:
        _, cache = network.cached_step(tf.constant([[token]]), cache)
    for state, expected in zip(last, cache.values(), strict=True):
        np.testing.assert_allclose(state[1:2], expected, atol=1e-5)
