"""Kills training processes at random and shows that the run ends with the weights of one that was
never touched.

    make soak
    python -m benchmarks.soak [--kills 20] [--steps 4000] [--seed 0]

Four scenes: two workers under `tfscale launch`, a single process under it, a disk that is
full in the middle of a run, and parameter servers. Half of the kills of the first two wait for the
moment in which a checkpoint is being written. Training with parameter servers is asynchronous, so
no two runs of it are equal: there the chief must live on through the deaths of workers, all steps
must be taken, and the loss must come within 5 % of a single process's.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from tfscale.launching.network import has_private_networks

POLL_SECONDS = 0.002
PATIENCE_STEPS = 100
"""How many steps a kill waits for a checkpoint that is being written. The write of a small model
takes milliseconds, and a busy machine may look too late at each of them."""

TEXT_LINES = 4000
MAX_LOSS_GAP = 0.05


@dataclass
class Kills:
    """The kills of a run: the step of each, and how many hit a checkpoint being written."""

    steps: list[int]
    in_checkpoint: int = 0


def prepare_data(folder: str) -> str:
    """A small data folder; returns its path."""
    text = os.path.join(folder, "text.txt")
    words = "the red blue old new big small cat dog sat ran on under mat".split()
    words += "house and or but is not".split()
    rng = random.Random(0)
    with open(text, "w", encoding="utf-8") as file:
        file.writelines(" ".join(rng.choices(words, k=12)) + ".\n" for _ in range(TEXT_LINES))
    data = os.path.join(folder, "data")
    words_of = [
        "prepare",
        "--text",
        text,
        "--documents",
        "line",
        "--tokenizer",
        "byte",
        "--output",
        data,
    ]
    subprocess.run(
        [sys.executable, "-m", "tfscale.cli", *words_of, "--shards", "4"],
        check=True,
        capture_output=True,
    )
    return data


def train_words(data: str, output: str, steps: int) -> list[str]:
    """A `tfscale train` command whose steps take milliseconds; with dropout, so that its draws are
    compared too."""
    options = {
        "model.sequence_length": 32,
        "model.hidden_dim": 32,
        "model.num_layers": 1,
        "model.num_heads": 2,
        "model.dropout": 0.1,
        "train.steps": steps,
        "train.global_batch_size": 8,
        "train.log_every": 5,
        "train.checkpoint_every": 25,
        "train.validate_every": steps // 2,
        "train.validation_batches": 4,
        "train.tensorboard": "false",
        "train.ema_decay": 0.9,
        "train.xla": "off",
    }
    return [
        "train",
        "--data",
        data,
        "--output",
        output,
        *(f"--{name}={value}" for name, value in options.items()),
    ]


def launch_command(words: Sequence[str], workers: int, max_restarts: int) -> list[str]:
    """`tfscale launch` for these words."""
    options = [
        "--workers",
        str(workers),
        "--max-restarts",
        str(max_restarts),
        "--grace-seconds",
        "10",
    ]
    if not has_private_networks():  # In a container, whose network is as a rule its own.
        options.append("--allow-network")
    return [sys.executable, "-m", "tfscale.cli", "launch", *options, "--", *words]


def run_with_kills(
    command: Sequence[str], output: str, at_steps: Sequence[int], in_write: int, seed: int
) -> Kills:
    """Runs a launch command and kills one of its workers by SIGKILL whenever the run reaches the
    next of the steps.

    Args:
        command: a command that `launch_command` made.
        output: its run folder, by which the workers are found.
        at_steps: steps, rising; each kill comes when history.jsonl has reached the next one.
        in_write: how many of the kills wait until a checkpoint is being written, and then hit the
            chief; after `PATIENCE_STEPS` steps they come without one.
        seed: chooses the worker.

    Raises:
        RuntimeError: the command failed; the end of its log is in the message.
    """
    rng = random.Random(seed)
    log: list[str] = []
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    reader = threading.Thread(target=_read, args=(process.stderr, log), daemon=True)
    reader.start()
    kills = Kills([])
    waiting = list(at_steps)
    left_behind: set[str] = set()
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        step = last_step(output)
        if not waiting or step < waiting[0]:
            continue
        is_patient = step < waiting[0] + PATIENCE_STEPS
        wait_for_write = (
            is_patient and in_write > 0 and (len(waiting) % 2 == 0 or len(waiting) <= in_write)
        )
        half_written = writing(output) - left_behind
        if wait_for_write and not half_written:
            continue
        workers = worker_processes(output, process.pid)
        if not workers or (wait_for_write and not half_written & writing(output)):
            continue
        os.kill(workers[0] if wait_for_write else rng.choice(workers), signal.SIGKILL)
        left_behind = writing(output)
        if wait_for_write and half_written & left_behind:
            # The write did not come to its end before the kill, and left its file behind.
            in_write -= 1
            kills.in_checkpoint += 1
        kills.steps.append(last_step(output))
        waiting.pop(0)
        # The workers are gone and have begun anew before the next kill is thought of.
        gone = set(workers)
        while gone & set(worker_processes(output, process.pid)) and process.poll() is None:
            time.sleep(POLL_SECONDS)
    reader.join(timeout=10)
    if process.returncode != 0:
        raise RuntimeError(
            f"exit code {process.returncode} after kills at {kills.steps}:\n{''.join(log[-30:])}"
        )
    return kills


def _read(stream: IO[str], log: list[str]) -> None:
    with stream:
        log.extend(stream)


def last_step(output: str) -> int:
    """The last step in the run's history; 0 before there is one."""
    try:
        with open(os.path.join(output, "history.jsonl"), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except json.JSONDecodeError:  # A line that is being written.
            continue
    return 0


def writing(output: str) -> set[str]:
    """Returns the files of checkpoints that are half written: one that the chief writes now, or was
    killed in."""
    folder = os.path.join(output, "checkpoints")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return {name for name in names if ".npz.tmp-" in name}


def worker_processes(output: str, launcher: int) -> list[int]:
    """Process numbers of the launcher's workers, the chief (which was started first) in front."""
    return list(cluster_processes(output, launcher).values())


def cluster_processes(output: str, launcher: int) -> dict[str, int]:
    """Names of the launcher's processes, such as "worker 0" -> their process numbers, in order of
    their start."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/stat", encoding="utf-8") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
            with open(f"/proc/{number}/cmdline", encoding="utf-8") as file:
                words = file.read().split("\0")
            if int(parent) != launcher or state == "Z" or output not in words:
                continue
            with open(f"/proc/{number}/environ", encoding="utf-8") as file:
                environ = dict(entry.partition("=")[::2] for entry in file.read().split("\0"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        task = json.loads(environ.get("TF_CONFIG", '{"task": {"type": "worker", "index": 0}}'))[
            "task"
        ]
        found.append(
            (int(number), "chief" if task["type"] == "chief" else f"{task['type']} {task['index']}")
        )
    return {name: number for number, name in sorted(found)}


def largest_difference(a: str, b: str, steps: int) -> float:
    """Largest difference between any two arrays of the last checkpoints of two runs; 0.0 means bit
    for bit."""
    with (
        np.load(f"{a}/checkpoints/step-{steps:08d}.npz") as x,
        np.load(f"{b}/checkpoints/step-{steps:08d}.npz") as y,
    ):
        names = set(x.files) - {"meta"}
        if names != set(y.files) - {"meta"}:
            raise RuntimeError(f"{a} and {b} do not hold the same arrays")
        if all(x[name].tobytes() == y[name].tobytes() for name in names):
            return 0.0
        return (
            max(
                float(np.abs(x[name].astype(float) - y[name].astype(float)).max()) for name in names
            )
            or 1e-45
        )


def soak_parameter_servers(data: str, folder: str, kills: int, steps: int, seed: int) -> bool:
    """Kills workers, and once a server, of an asynchronous run; prints what came out, returns
    whether all is well."""
    served, alone = (os.path.join(folder, name) for name in ("served", "alone"))
    untied = ["--model.tie_embeddings=false", "--model.dropout=0"]
    train_once([*train_words(data, alone, steps), *untied])
    options = ["--workers", "2", "--parameter-servers", "2", "--max-restarts", str(kills + 1)]
    command = [
        sys.executable,
        "-m",
        "tfscale.cli",
        "launch",
        *options,
        "--",
        *train_words(data, served, steps),
        *untied,
    ]
    rng = random.Random(seed)
    at = sorted(rng.sample(range(steps // 10, steps - steps // 10), kills + 1))
    chiefs, began = [], time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for number, step in enumerate(at):
            while last_step(served) < step and process.poll() is None:
                time.sleep(POLL_SECONDS)
            victim = "ps 0" if number == kills // 2 else f"worker {rng.randrange(2)}"
            processes = cluster_processes(served, process.pid)
            while (
                victim not in processes and process.poll() is None
            ):  # The one before it is still starting.
                time.sleep(POLL_SECONDS)
                processes = cluster_processes(served, process.pid)
            chiefs.append(processes.get("chief"))
            os.kill(processes[victim], signal.SIGKILL)
    losses = []
    for output in (served, alone):
        with open(os.path.join(output, "summary.json"), encoding="utf-8") as file:
            losses.append(json.load(file)["validation"]["nll_per_token"])
    gap = losses[0] / losses[1] - 1
    print(
        f"parameter servers: {len(chiefs) - 1} kills of workers and one of a server over {steps}"
        f" steps in {time.monotonic() - began:.0f} s, {len(set(chiefs))} chiefs; exit code"
        f" {process.returncode}; validation loss {losses[0]:.4f}, of a single process"
        f" {losses[1]:.4f} ({gap:+.1%})",
        flush=True,
    )
    return process.returncode == 0 and len(set(chiefs)) == 2 and abs(gap) < MAX_LOSS_GAP


def train_once(words: Sequence[str], largest_file: int | None = None) -> int:
    """Runs a command alone, with a limit on the size of files if one is given; returns its exit
    code."""

    def limit() -> None:
        if largest_file is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    command = [sys.executable, "-m", "tfscale.cli", *words]
    done = subprocess.run(command, capture_output=True, preexec_fn=limit, check=False)  # noqa: PLW1509
    return done.returncode


def main() -> None:
    """Plays the scenes and prints what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="tfscale-soak-") as folder:
        data = prepare_data(folder)
        for workers in (2, 1):
            quiet, killed = (
                os.path.join(folder, f"{name}-{workers}") for name in ("quiet", "killed")
            )
            words = train_words(data, quiet, options.steps)
            subprocess.run(launch_command(words, workers, 0), check=True, capture_output=True)
            rng = random.Random(options.seed)
            last = options.steps - PATIENCE_STEPS - 50
            at = sorted(rng.sample(range(50, last), options.kills))
            began = time.monotonic()
            command = launch_command(
                train_words(data, killed, options.steps), workers, options.kills
            )
            kills = run_with_kills(command, killed, at, options.kills // 2, options.seed)
            difference = largest_difference(quiet, killed, options.steps)
            failed |= difference != 0 or len(kills.steps) < options.kills
            print(
                f"{workers} worker{'s' if workers > 1 else ''}: {len(kills.steps)} of"
                f" {options.kills} kills, {kills.in_checkpoint} while a checkpoint was written,"
                f" over {options.steps} steps in {time.monotonic() - began:.0f} s; largest"
                f" difference to the run without kills: {difference}",
                flush=True,
            )
        full = os.path.join(folder, "full")
        words = train_words(data, full, options.steps)
        first, second = train_once(words, largest_file=20_000), train_once(words)
        difference = largest_difference(os.path.join(folder, "quiet-1"), full, options.steps)
        failed |= (first, second) != (2, 0) or difference != 0
        print(
            f"full disk: exit code {first}, then with space {second}; largest difference:"
            f" {difference}",
            flush=True,
        )
        failed |= not soak_parameter_servers(
            data, folder, options.kills // 2, options.steps, options.seed
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
