"""Minutes in two worker processes: the clock of the chief decides, after a stop as well."""

import json
import sys

import pytest

from benchmarks.soak import prepare_data
from tests.runs.minutes_worker import SECONDS
from tfscale.config.launching import LaunchConfig
from tfscale.launching.launcher import launch
from tfscale.launching.network import has_private_networks


def run_workers(data, output, folder, stop):
    config = LaunchConfig(workers=2, max_restarts=0, allow_network=not has_private_networks())
    words = [data, str(output), str(folder), str(stop)]
    launch(words, config, [sys.executable, "-m", "tests.runs.minutes_worker"])
    return [json.loads((folder / f"{index}.json").read_text()) for index in range(2)]


@pytest.mark.slow  # By the clock, which a busy machine may let run out before the first step.
def test_all_workers_follow_the_clock_of_the_chief(tmp_path):
    data, output = prepare_data(str(tmp_path)), tmp_path / "run"
    chief, other = run_workers(data, output, tmp_path, 30)
    assert chief["calls"] == other["calls"]
    assert 30 <= chief["steps"] == other["steps"] and not chief["completed"]
    stopped = json.loads((output / "summary.json").read_text())
    again, other = run_workers(data, output, tmp_path, 0)
    assert again["calls"] == other["calls"] and again["completed"]
    assert again["calls"][0][0] == chief["steps"]
    # What was left is dealt out anew, from the rate on that was reached.
    last_rate = chief["calls"][-1][3]
    assert 0 < again["calls"][0][3] <= last_rate * 1.001
    summary = json.loads((output / "summary.json").read_text())
    assert summary["seconds"] > max(stopped["seconds"], 0.9 * SECONDS)
    with open(output / "history.jsonl") as file:
        rates = [e["learning_rate"] for e in map(json.loads, file) if "learning_rate" in e]
    assert rates[-1] == pytest.approx(1e-3)
