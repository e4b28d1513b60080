"""`tfscale.Model` and `LanguageModel` in two worker processes give what one device gives."""

import json
import sys

import keras
import numpy as np
import pytest

from tests.training.model_worker import train, train_language
from tfscale.config.launching import LaunchConfig
from tfscale.launching.launcher import launch
from tfscale.launching.network import has_private_networks


def results_of_workers(folder, order):
    config = LaunchConfig(workers=2, max_restarts=0, allow_network=not has_private_networks())
    words = ["multi_worker", str(folder), order]
    launch(words, config, [sys.executable, "-m", "tests.training.model_worker"])
    return [json.loads((folder / f"{index}.json").read_text()) for index in range(2)]


def test_two_workers_give_the_answer_of_one_device(tmp_path):
    _, wanted = train("single", "same")
    for found in results_of_workers(tmp_path, "same"):
        assert found["history"].keys() == wanted["history"].keys()
        pairs = zip(keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.slow
def test_two_workers_count_the_metrics_of_a_language_model_once(tmp_path):
    _, wanted = train_language("single")
    assert 0 < wanted["test"]["accuracy"] < 1
    for found in results_of_workers(tmp_path, "language"):
        assert found["history"].keys() == wanted["history"].keys()
        pairs = zip(keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.slow
def test_workers_that_read_other_batches_are_refused(tmp_path):
    for found in results_of_workers(tmp_path, "other"):
        assert "the workers read different batches" in found["error"]
        assert "\n" not in found["error"]


def test_the_accuracy_of_the_reference_is_that_of_its_outputs():
    _, results = train("single", "same")
    rng = np.random.default_rng(0)
    rng.normal(size=(25, 6))
    labels = rng.integers(0, 3, 25)
    right = np.argmax(results["outputs"], -1) == labels
    assert results["test"][1] == pytest.approx(right.mean())
