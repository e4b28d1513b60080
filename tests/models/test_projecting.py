"""Logits of a part of the vocabulary at a time, beside all of them at once."""

import keras
import numpy as np
import pytest

from tfscale.config import LSTMConfig, TransformerConfig
from tfscale.models import build_network, projecting
from tfscale.models.projecting import projection

SIZE = {"vocabulary_size": 23, "sequence_length": 4}
CONFIGS = [
    TransformerConfig(hidden_dim=8, num_layers=1, num_heads=2, logit_soft_cap=2.0, **SIZE),
    TransformerConfig(hidden_dim=8, num_layers=1, num_heads=2, tie_embeddings=False, **SIZE),
    LSTMConfig(embedding_dim=8, hidden_dim=8, **SIZE),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_parts_are_the_whole(config, monkeypatch):
    monkeypatch.setattr(projecting, "_PART", 40)
    network = build_network(config)
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(rng.normal(0, 1, weight.shape))
    axes = network.vocabulary_axes()
    outputs = [(weight, axes[weight.path]) for weight in network.output_variables]
    hidden = network.hidden_states(np.array([[1, 2, 3, 22]], np.int32))
    logits_of = projection(network.project, outputs, 23)
    found = logits_of(hidden)
    np.testing.assert_allclose(found, network.project(hidden), rtol=1e-5, atol=1e-5)
    # Weights are read at each call.
    for weight in network.output_variables:
        weight.assign(2 * weight)
    again = logits_of(hidden)
    np.testing.assert_allclose(again, network.project(hidden), rtol=1e-5, atol=1e-5)
    assert not np.allclose(again, found)


@pytest.mark.parametrize("rank", [6, 31])
def test_a_product_of_two_matrices_is_taken_whole(rank, monkeypatch):
    """Part of the first one would give other logits, or an error."""
    monkeypatch.setattr(projecting, "_PART", 40)
    rng = np.random.default_rng(0)
    narrow, wide = (keras.Variable(rng.normal(size=size)) for size in ((8, rank), (rank, 23)))
    hidden = rng.normal(size=(2, 8)).astype(np.float32)

    def project(hidden):
        return hidden @ narrow @ wide

    found = projection(project, [(narrow, 1), (wide, 1)], 23)(hidden)
    np.testing.assert_allclose(found, hidden @ narrow.numpy() @ wide.numpy(), rtol=1e-5, atol=1e-5)
