"""TensorFlow as commands load it."""

import json
import os
import subprocess
import sys

import pytest

from tfscale.compat import quiet

_PROGRAM = """
import json, os
from tfscale.compat.quiet import load_tensorflow
load_tensorflow(gives_memory_back=True)
import tensorflow as tf
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
before = resident()
tensor = tf.zeros((100_000_000,))
held = resident() - before
del tensor
print(json.dumps([held, resident() - before]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the memory from /proc")
def test_memory_of_large_tensors_is_given_back():
    """400 MB; with oneDNN's products they would stay."""
    environment = {
        name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    held, left = json.loads(done.stdout.splitlines()[-1])
    assert held > 390e6 and left < 40e6


@pytest.mark.parametrize("said, holds", [(None, "0"), ("1", "1")])
def test_what_the_user_says_holds(monkeypatch, said, holds):
    found = []
    monkeypatch.setattr(
        quiet, "start_quietly", lambda: found.append(os.environ["TF_ENABLE_ONEDNN_OPTS"])
    )
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    # Set first, so that it is put back afterwards as it was.
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", str(said))
    if said is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    quiet.load_tensorflow(gives_memory_back=True)
    assert found == [holds]
