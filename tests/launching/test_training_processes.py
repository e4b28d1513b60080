"""Training in several real processes: killed, stopped, resumed on another number of workers, and started wrongly."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.soak import (
    largest_difference,
    last_step,
    launch_command,
    prepare_data,
    run_with_kills,
    train_once,
    train_words,
)
from tests.distribution.addresses import free_addresses
from tfscale import cli

STEPS = 800


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare_data(str(tmp_path_factory.mktemp("processes")))


def losses(output):
    with open(f"{output}/history.jsonl") as file:
        entries = [json.loads(line) for line in file]
    return {entry["step"]: entry["loss"] for entry in entries if "loss" in entry}


def test_a_kill_leaves_no_trace_in_the_weights(data, tmp_path):
    """A single process under the launcher, killed once: the quiet run trains in this process."""
    quiet, killed = str(tmp_path / "quiet"), str(tmp_path / "killed")
    assert cli.main(train_words(data, quiet, 400)) == 0
    command = launch_command(train_words(data, killed, 400), 1, 1)
    # Between two checkpoints, so that the steps after the first are taken twice.
    kills = run_with_kills(command, killed, [60], in_write=0, seed=3)
    assert len(kills.steps) == 1
    assert largest_difference(quiet, killed, 400) == 0
    assert losses(killed) == losses(quiet)
    with open(f"{killed}/summary.json") as file:
        assert json.load(file)["completed"]


@pytest.mark.slow
def test_kills_leave_no_trace_in_the_weights(data, tmp_path):
    """Of two workers, one of which is the chief while it writes."""
    quiet, killed = str(tmp_path / "quiet"), str(tmp_path / "killed")
    subprocess.run(
        launch_command(train_words(data, quiet, STEPS), 2, 0), check=True, capture_output=True
    )
    at = sorted(random.Random(3).sample(range(30, STEPS - 400), 3))
    kills = run_with_kills(
        launch_command(train_words(data, killed, STEPS), 2, 3), killed, at, in_write=1, seed=3
    )
    # The write may end before the kill comes.
    assert len(kills.steps) == 3 and kills.in_checkpoint <= 1
    assert largest_difference(quiet, killed, STEPS) == 0
    assert losses(killed) == losses(quiet)
    with open(f"{killed}/summary.json") as file:
        assert json.load(file)["completed"]


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_workers(data, tmp_path):
    """Begun by two workers, stopped by SIGTERM, ended by one: the losses are those of one worker all along."""
    elastic, alone = str(tmp_path / "elastic"), str(tmp_path / "alone")
    # Draws of dropout belong to the replica, so they follow the number of replicas; and Muon makes
    # more of rounding.
    options = ["--model.dropout=0", "--train.optimizer=adamw"]
    steps = 300
    launcher = subprocess.Popen(
        launch_command([*train_words(data, elastic, steps), *options], 2, 0),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while last_step(elastic) < 50:
        assert launcher.poll() is None
        time.sleep(0.01)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(timeout=60) == 75
    stopped_at = last_step(elastic)
    assert 50 <= stopped_at < steps
    assert os.path.exists(f"{elastic}/checkpoints/step-{stopped_at:08d}.npz")
    for output in (elastic, alone):
        assert cli.main([*train_words(data, output, steps), *options]) == 0
    ours, reference = losses(elastic), losses(alone)
    # The stop adds a line where a block of steps was cut; all others stand at the same steps.
    both = sorted(set(ours) & set(reference))
    assert len(both) >= len(reference) - 1
    np.testing.assert_allclose([ours[s] for s in both], [reference[s] for s in both], atol=2e-5)
    assert largest_difference(elastic, alone, steps) < 1e-4


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_space_lets_it_go_on(data, tmp_path):
    full, quiet = str(tmp_path / "full"), str(tmp_path / "quiet")
    assert train_once(train_words(data, full, 100), largest_file=20_000) == 2
    assert not any(".tmp-" in name for name in os.listdir(f"{full}/checkpoints"))
    for output in (full, quiet):
        assert cli.main(train_words(data, output, 100)) == 0
    assert largest_difference(full, quiet, 100) == 0


def start_by_hand(command_of, environ=None):
    """Two workers with TF_CONFIG, each with its own command; None is a worker that never comes."""
    addresses = free_addresses(2)
    processes = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        if (words := command_of(index)) is not None:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tfscale.cli", *words],
                    text=True,
                    stderr=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, "TF_CONFIG": json.dumps(config), **(environ or {})},
                )
            )
    ends = [process.communicate(timeout=120)[1] for process in processes]
    return [process.returncode for process in processes], ends, addresses


def error_lines(text):
    return [line for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
def test_workers_with_other_options_are_named_on_all_of_them(data, tmp_path):
    output = str(tmp_path / "run")
    codes, ends, _ = start_by_hand(
        lambda index: [
            *train_words(data, output, 50),
            f"--train.learning_rate={0.001 + index / 1000}",
        ]
    )
    assert codes == [2, 2]
    for end in ends:
        assert error_lines(end) == [
            "error: the workers were started with different train.learning_rate (worker 1), compared with worker 0. "
            "Give every worker the same data and options"
        ]
    assert not os.path.exists(f"{output}/config.yaml")


def test_a_worker_that_never_comes_is_named(data, tmp_path):
    codes, ends, addresses = start_by_hand(
        lambda index: train_words(data, str(tmp_path / "run"), 50) if index == 0 else None,
        {"TFSCALE_STARTUP_SECONDS": "3"},
    )
    assert codes == [1]  # Start all again.
    (line,) = error_lines(ends[0])
    assert f"did not come together within 3 s; missing: worker 1 at {addresses[1]}" in line
