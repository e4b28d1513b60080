"""A task that tiny models learn in a few steps: each token follows from the one before, nine times out of ten."""

import numpy as np
import pytest

from tfscale.config import LSTMConfig, TransformerConfig

VOCABULARY, LENGTH = 50, 12

CONFIGS = {
    "transformer": TransformerConfig(
        vocabulary_size=VOCABULARY, sequence_length=LENGTH, hidden_dim=16, num_layers=2, num_heads=2
    ),
    "lstm": LSTMConfig(vocabulary_size=VOCABULARY, sequence_length=LENGTH, embedding_dim=8, hidden_dim=16),
}


def make_windows(rows, seed=0):
    """Ids and targets, each (rows, LENGTH)."""
    rng = np.random.default_rng(seed)
    stream = np.zeros((rows, LENGTH + 1), "int32")
    stream[:, 0] = rng.integers(0, VOCABULARY, rows)
    for t in range(LENGTH):
        follows = (stream[:, t] * 3 + 1) % VOCABULARY
        stream[:, t + 1] = np.where(rng.random(rows) < 0.9, follows, rng.integers(0, VOCABULARY, rows))
    return stream[:, :-1], stream[:, 1:]


@pytest.fixture(scope="session")
def windows():
    return make_windows(48)
