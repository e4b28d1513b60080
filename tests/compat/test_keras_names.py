"""Files of tfscale's models load in a process that has imported the package and used nothing of it."""

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.gpt2 import gpt2
from tests.slow import slow_but
from tfscale import models
from tfscale.compat.keras_names import MODULE_OF
from tfscale.config import LSTMConfig
from tfscale.runs.folder import save_network
from tfscale.training.language_model import LanguageModel

ROOT = Path(__file__).resolve().parents[2]
IDS = np.arange(8, dtype="int32").reshape(2, 4)


def test_every_registered_class_is_in_the_table():
    for package in ("models", "training", "compress", "tasks"):
        for module in pkgutil.walk_packages([ROOT / "tfscale" / package], f"tfscale.{package}."):
            importlib.import_module(module.name)
    registered = keras.saving.get_custom_objects().items()
    found = {key: entry.__module__ for key, entry in registered if key.startswith("tfscale>")}
    assert found == {f"tfscale>{name}": module for name, module in MODULE_OF.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A run's model.keras, a compiled LanguageModel's file, and what both give for IDS."""
    folder = tmp_path_factory.mktemp("files")
    network = models.build_network(
        LSTMConfig(vocabulary_size=9, sequence_length=4, embedding_dim=4, hidden_dim=4)
    )
    save_network(network, str(folder / "run.keras"))
    transformer = models.build_network(
        gpt2(vocabulary_size=9, sequence_length=4, hidden_dim=4, num_layers=1, num_heads=1)
    )
    model = LanguageModel(transformer)
    model.compile("sgd", xla=False)
    model.save(folder / "fit.keras")
    np.savez(folder / "expected.npz", run=network(IDS), fit=model(IDS))
    return folder


@pytest.mark.parametrize(
    "imports", slow_but(["import tfscale, keras", "import keras, tfscale"], "import tfscale, keras")
)
def test_files_load_after_both_imports_in_either_order(files, imports):
    code = f"""
import sys
{imports.split(", ")[0]}
assert "tfscale.models" not in sys.modules and ("keras" in sys.modules) == ({imports!r} == "import keras, tfscale")
import {imports.split(", ")[1]}
import numpy as np
ids = np.arange(8, dtype="int32").reshape(2, 4)
expected = np.load("expected.npz")
assert "tfscale.models" not in sys.modules
for name in ("run", "fit"):
    np.testing.assert_array_equal(keras.models.load_model(name + ".keras")(ids), expected[name])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=files, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_finder_is_gone_once_keras_is_there():
    assert keras is sys.modules["keras"]
    assert not [
        finder
        for finder in sys.meta_path
        if type(finder).__module__ == "tfscale.compat.keras_names"
    ]
