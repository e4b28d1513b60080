"""Freed memory is given back to the system."""

import os
import sys

import numpy as np
import pytest

from tests.resident import resident
from tfscale.compat.memory import give_memory_back


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the memory from /proc")
def test_what_lies_below_something_in_use_is_given_back():
    # 100 MB, in pieces that the C library does not ask the system for one by one.
    pieces = [np.ones(12_000) for _ in range(1_000)]
    last = np.ones(12_000)
    del pieces
    before = resident()
    give_memory_back()
    assert before - resident() > 50e6 and last.sum() == 12_000


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_other_systems_keep_what_they_keep(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    give_memory_back()
