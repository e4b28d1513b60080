"""Runs the trainings of `tfscale.Model` and of stock Keras, and compares each with one device.

The reference is stock Keras on one device. The control is how far apart runs of it are in which the
rows of each batch come in another order, so that sums are rounded otherwise. A training is the same
if it is no farther from the reference than `MARGIN` times that, or `FLOOR`.
"""

import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.equivalence_cases import MODEL_CASES, ModelCase
from benchmarks.equivalence_fits import Training, is_written, trainings
from tfscale.config.launching import LaunchConfig
from tfscale.launching.launcher import launch
from tfscale.launching.network import has_private_networks

WORKER = [sys.executable, "-m", "benchmarks.equivalence_fits"]
STRATEGIES = {
    "one device": ("single", 1),
    "Mirrored x 2": ("mirrored", 2),
    "Mirrored x 4": ("mirrored", 4),
    "2 workers": ("multi_worker", 2),
}
TRAINERS = {"tfscale": "tfscale", "keras": "stock Keras"}
MARGIN, FLOOR = 4.0, 1e-6
KINDS = ("loss", "metrics", "evaluate", "weights")
"""What is compared: the loss of each epoch, its metrics, what evaluate gives, the final weights."""


@dataclass(frozen=True)
class Compared:
    """A training beside stock Keras on one device.

    Attributes:
        case: what was trained.
        trainer: "tfscale" or "keras".
        strategy: its label in the table.
        micro_batches: of tfscale.
        differences: the largest ones, by `KINDS`; nothing if there are no results.
        control: those of the control.
        refused: tfscale's line; "" if it trained.
        failed: the line of any other error.
    """

    case: ModelCase
    trainer: str
    strategy: str
    micro_batches: int
    differences: dict[str, float] = field(default_factory=dict)
    control: dict[str, float] = field(default_factory=dict)
    refused: str = ""
    failed: str = ""

    @property
    def same(self) -> bool:
        """It trained, and all differences are within the bounds."""
        return bool(self.differences) and all(
            value <= bound(self.control[kind]) for kind, value in self.differences.items()
        )

    @property
    def ok(self) -> bool:
        """It is the same, or was refused where the case says so. Of stock Keras nothing is
        wanted."""
        if self.trainer == "keras":
            return True
        parts = STRATEGIES[self.strategy][1] > 1 or self.micro_batches > 1
        refuses = {
            "": False,
            "micro_batches": self.micro_batches > 1,
            "parts": parts,
        }[self.case.refused]
        return bool(self.refused) if refuses else self.same

    @property
    def answer(self) -> str:
        """A word and what belongs to it."""
        if self.failed or self.refused:
            return f"fails: {self.failed}" if self.failed else f"refused: {self.refused}"
        return "same" if self.same else "differs"


def bound(control: float) -> float:
    """Returns how far apart the same numbers may be."""
    return max(MARGIN * control, FLOOR)


def train_models(folder: str, strategies: Iterable[str], cases: Sequence[str], quick: bool) -> None:
    """Trains the cases under each strategy, by tfscale and by stock Keras, a process at a time.

    What the folder holds already is not trained again.
    """
    for label, trainer in itertools.product(strategies, TRAINERS):
        name, devices = STRATEGIES[label]
        output = os.path.join(folder, label)
        os.makedirs(output, exist_ok=True)
        words = [trainer, name, "--devices", str(devices), "--output", output]
        words += ["--cases", *cases, *(["--quick"] if quick else [])]
        print(f"{TRAINERS[trainer]}, {label}: {len(cases)} cases", file=sys.stderr, flush=True)
        if name == "multi_worker":
            private = has_private_networks()
            config = LaunchConfig(workers=devices, max_restarts=0, allow_network=not private)
            launch(words, config, WORKER)
        else:
            subprocess.run([*WORKER, *words], check=True)


def read(folder: str, label: str, training: Training) -> dict:
    """Returns what a process wrote of a training: arrays by name, or its line.

    Raises:
        FileNotFoundError: it wrote nothing.
    """
    path = os.path.join(folder, label, training.file)
    if os.path.exists(f"{path}.json"):
        with open(f"{path}.json", encoding="utf-8") as file:
            return json.load(file)
    with np.load(f"{path}.npz") as arrays:
        return dict(arrays)


def differences(one: dict, other: dict) -> dict[str, float]:
    """Returns the largest difference of each kind between two results."""
    if one.keys() != other.keys():
        odd = ", ".join(sorted(one.keys() ^ other.keys()))
        raise RuntimeError(f"only one of two results has {odd}")
    found = dict.fromkeys(KINDS, 0.0)
    for name, value in one.items():
        group = name.split("/")[0]
        kind = {"evaluate": "evaluate", "weight": "weights"}.get(
            group, "loss" if name == "fit/loss" else "metrics"
        )
        gap = np.abs(value.astype(float) - other[name].astype(float)).max()
        # Not a number is as far apart as can be.
        found[kind] = max(found[kind], float(gap) if np.isfinite(gap) else float("inf"))
    return found


def compare_models(
    folder: str, strategies: Iterable[str], cases: Sequence[str], quick: bool
) -> list[Compared]:
    """Returns every training beside stock Keras on one device, by case, trainer and strategy.

    What a run that was stopped did not come to is not among them.
    """
    compared = []
    labels = list(strategies)
    for name, trainer, label in itertools.product(cases, TRAINERS, labels):
        case = MODEL_CASES[name]
        orders = [read(folder, "one device", t) for t in trainings(case, "keras", "single", quick)]
        if (trainer, label) == ("keras", "one device"):
            continue
        control = {kind: 0.0 for kind in KINDS}
        for one, other in itertools.combinations(orders, 2):
            control = {k: max(control[k], gap) for k, gap in differences(one, other).items()}
        for training in trainings(case, trainer, STRATEGIES[label][0], quick):
            if not is_written(os.path.join(folder, label), training):
                continue
            make = functools.partial(
                Compared, case, trainer, label, training.micro_batches, control=control
            )
            results = read(folder, label, training)
            if results.keys() <= {"refused", "failed"}:
                compared.append(make(**results))
            else:
                compared.append(make(differences=differences(results, orders[0])))
    return compared
