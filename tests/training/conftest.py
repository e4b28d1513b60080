"""Windows of a task that tiny models learn in a few steps."""

import pytest

from tests.training.tiny import make_windows


@pytest.fixture(scope="session")
def windows():
    return make_windows(48)
