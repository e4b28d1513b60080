"""Weights that are rounded for a while, where the while is interrupted or a disk is full."""

import errno
import signal

import numpy as np
import pytest

from tfscale.compat.keras_weights import StoredValues
from tfscale.config import TransformerConfig
from tfscale.errors import TfscaleError
from tfscale.exporting.rounded import rounded_in_place
from tfscale.models import build_network


@pytest.fixture
def network():
    size = {"vocabulary_size": 30, "sequence_length": 4}
    return build_network(TransformerConfig(hidden_dim=8, num_layers=1, num_heads=2, **size))


def test_weights_are_put_back_whatever_is_pressed_meanwhile(network, monkeypatch):
    own, read = network.get_weights(), StoredValues.__array__

    def interrupted(self, dtype=None, copy=None):
        signal.raise_signal(signal.SIGINT)
        return read(self, dtype, copy)

    monkeypatch.setattr(StoredValues, "__array__", interrupted)
    with pytest.raises(KeyboardInterrupt), rounded_in_place(network, "int8"):
        assert any((a != b).any() for a, b in zip(network.get_weights(), own, strict=True))
        raise KeyboardInterrupt
    for have, want in zip(network.get_weights(), own, strict=True):
        np.testing.assert_array_equal(have, want)


def test_a_full_disk_is_told_of_the_temporary_files_alone(network, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError) as raised, rounded_in_place(network, "int8"):
        raise full
    assert raised.value is full

    def refuse(*_args):
        raise full

    monkeypatch.setattr("tfscale.exporting.rounded.StoredValues", refuse)
    with pytest.raises(TfscaleError, match="^no space left for temporary files in "):
        with rounded_in_place(network, "int8"):
            pass
