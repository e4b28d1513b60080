"""Cases of a test that `make test` leaves to `make test-slow`."""

import pytest


def slow_but(values, *soon):
    """Returns the values of a parameter, or tuples of several; those that are not among `soon` are
    marked as slow. A test keeps at least one case."""
    assert all(one in values for one in soon)
    return [
        value
        if value in soon
        else pytest.param(
            *(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow
        )
        for value in values
    ]
