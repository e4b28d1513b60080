"""A task that tiny models learn in a few steps: each token follows from the one before, nine times out of ten."""

import pytest

from benchmarks.equivalence_worker import LENGTH, SMALL, VOCABULARY, make_windows

CONFIGS = SMALL
__all__ = ["CONFIGS", "LENGTH", "VOCABULARY", "make_windows"]


@pytest.fixture(scope="session")
def windows():
    return make_windows(48)
