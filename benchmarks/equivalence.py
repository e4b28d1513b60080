"""The same answer on any number of replicas, workers and micro-batches: every combination beside
one device.

    make equivalence
    python -m benchmarks.equivalence [--part language|models] [--cases NAME ...] [--quick]
        [--optimizers NAME ...]

Language models: one process per strategy (two for MultiWorkerMirrored) trains every case for 50
steps. In float32 the largest difference of a step's loss and of a final weight must stay within
fixed bounds. In mixed precision it must not be larger than the largest difference between two runs
on one device that differ only in the number of micro-batches (every divisor of the batch of 48,
from 1 to 48), the control.

Models: `tfscale.Model` and stock Keras train other networks, see `benchmarks.equivalence_compared`;
a run of all of them writes docs/equivalence.md.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import equivalence_compared, equivalence_page
from benchmarks.equivalence_cases import MODEL_CASES
from benchmarks.equivalence_compared import Compared, compare_models, train_models
from benchmarks.equivalence_worker import OPTIMIZERS, Case, cases, controls
from tfscale.config.launching import LaunchConfig
from tfscale.launching.launcher import launch
from tfscale.launching.network import has_private_networks

WORKER = [sys.executable, "-m", "benchmarks.equivalence_worker"]
LOSS_BOUND = 1e-5
WEIGHT_BOUNDS = {"adamw": 5e-5, "sgd": 1e-6, "muon": 2e-4, "adafactor": 5e-5}
"""Muon scales what is small in a momentum up to 424 times, and its rounding with it."""
STRATEGIES = {
    "single": ("single", 1),
    "Mirrored x 2": ("mirrored", 2),
    "Mirrored x 4": ("mirrored", 4),
    "2 workers": ("multi_worker", 2),
}


@dataclass(frozen=True)
class Gap:
    """Largest differences of a case from the same case on one device without micro-batches, and
    their bounds."""

    case: Case
    strategy: str
    loss: float
    weight: float
    loss_bound: float
    weight_bound: float

    @property
    def kept(self) -> bool:
        """Both differences are within their bounds."""
        return self.loss <= self.loss_bound and self.weight <= self.weight_bound


def train_all(
    folder: str,
    strategies: Sequence[str],
    quick: bool,
    optimizers: Sequence[str] = tuple(OPTIMIZERS),
) -> None:
    """Trains every case under each strategy, one strategy after the other.

    What the folder holds already is not trained again.
    """
    for label in strategies:
        name, devices = STRATEGIES[label]
        output = os.path.join(folder, label)
        os.makedirs(output, exist_ok=True)
        words = [
            name,
            "--devices",
            str(devices),
            "--output",
            output,
            *(["--quick"] if quick else []),
            "--optimizers",
            *optimizers,
        ]
        count = len(cases(quick, optimizers))
        print(f"training {count} cases under {label}", file=sys.stderr, flush=True)
        if name == "multi_worker":
            launch(
                words,
                LaunchConfig(
                    workers=devices, max_restarts=0, allow_network=not has_private_networks()
                ),
                WORKER,
            )
        else:
            subprocess.run([*WORKER, *words], check=True)


def differences(a: str, b: str) -> tuple[float, float]:
    """Largest difference of a step's loss, and of a weight or average, between two result files."""
    with np.load(a) as x, np.load(b) as y:
        if set(x.files) != set(y.files):
            raise RuntimeError(f"{a} and {b} do not hold the same arrays")
        weights = [
            np.abs(x[n].astype(float) - y[n].astype(float)).max()
            for n in x.files
            if n.startswith("weight/")
        ]
        return float(np.abs(x["losses"] - y["losses"]).max()), float(max(weights))


def compare(
    folder: str,
    strategies: Sequence[str],
    quick: bool,
    optimizers: Sequence[str] = tuple(OPTIMIZERS),
) -> list[Gap]:
    """Every case under every strategy beside one device without micro-batches."""

    def path(label: str, case: Case) -> str:
        return os.path.join(folder, label, f"{case.name}.npz")

    gaps = []
    for case in cases(quick, optimizers):
        base = dataclasses.replace(case, micro_batches=1)
        if case.precision == "float32":
            bounds = LOSS_BOUND, WEIGHT_BOUNDS[case.optimizer]
        else:
            runs = [path("single", control) for control in controls(case)]
            noise = [differences(one, other) for one, other in itertools.combinations(runs, 2)]
            bounds = max(loss for loss, _ in noise), max(weight for _, weight in noise)
        for label in strategies:
            if (label, case) != ("single", base):
                gaps.append(
                    Gap(case, label, *differences(path(label, case), path("single", base)), *bounds)
                )
    return gaps


def language_models(
    quick: bool, optimizers: Sequence[str], kept: str | None, console: Console
) -> list[Gap]:
    """Trains the language models under every strategy, and prints how far apart they are.

    Args:
        kept: a folder that keeps the results.
    """
    with _folder(kept) as folder:
        train_all(folder, list(STRATEGIES), quick, optimizers)
        gaps = compare(folder, list(STRATEGIES), quick, optimizers)
    table = Table(title="differences from one device without micro-batches, 50 steps")
    columns = (
        "family",
        "precision",
        "optimizer",
        "strategy",
        "micro",
        "max |d loss|",
        "max |d weight|",
        "bounds",
        "",
    )
    for column in columns:
        table.add_column(column)
    for gap in gaps:
        case = gap.case
        table.add_row(
            case.family,
            case.precision,
            case.optimizer,
            gap.strategy,
            str(case.micro_batches),
            f"{gap.loss:.1e}",
            f"{gap.weight:.1e}",
            f"{gap.loss_bound:.1e} {gap.weight_bound:.1e}",
            "ok" if gap.kept else "NO",
        )
    console.print(table)
    print(f"{sum(gap.kept for gap in gaps)} of {len(gaps)} within their bounds")
    return gaps


def other_models(
    cases: list[str], quick: bool, kept: str | None, console: Console
) -> list[Compared]:
    """Trains models by `tfscale.Model` and by Keras, and prints how far apart they are.

    Args:
        kept: a folder that keeps the results.
    """
    with _folder(kept) as folder:
        train_models(folder, equivalence_compared.STRATEGIES, cases, quick)
        compared = compare_models(folder, equivalence_compared.STRATEGIES, cases, quick)
    console.print(equivalence_page.table(compared))
    print(equivalence_page.verdict(compared))
    return compared


def _folder(kept: str | None = None) -> contextlib.AbstractContextManager[str]:
    """Returns the folder that is named, or one that goes away."""
    if kept is not None:
        return contextlib.nullcontext(kept)
    return tempfile.TemporaryDirectory(prefix="tfscale-equivalence-")


def main() -> None:
    """Trains, prints the tables, and ends with exit code 1 if something was not as it must be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["language", "models"], help="one of the two tables")
    parser.add_argument("--cases", nargs="+", choices=list(MODEL_CASES), help="some of the models")
    parser.add_argument(
        "--optimizers",
        nargs="+",
        choices=list(OPTIMIZERS),
        default=list(OPTIMIZERS),
        help="some of the language models' optimizers",
    )
    parser.add_argument("--quick", action="store_true", help="a few of each kind, without XLA")
    parser.add_argument(
        "--folder", help="keeps the results: a run that was stopped goes on from them"
    )
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    console = Console(width=130)
    gaps: list[Gap] = []
    compared: list[Compared] = []
    if options.part != "models":
        kept = os.path.join(options.folder, "language") if options.folder else None
        gaps = language_models(options.quick, options.optimizers, kept, console)
    if options.part != "language":
        named = options.cases or [
            n for n, case in MODEL_CASES.items() if case.quick >= options.quick
        ]
        compared = other_models(named, options.quick, options.folder, console)
    if options.json:
        figures = {
            "language": [dataclasses.asdict(gap) for gap in gaps],
            "models": [
                {**dataclasses.asdict(one), "case": one.case.name, "ok": one.ok} for one in compared
            ],
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    same = all(gap.kept for gap in gaps) and all(one.ok for one in compared)
    if same and compared and not options.quick and not options.cases:
        equivalence_page.PAGE.write_text(equivalence_page.page(compared), encoding="utf-8")
        print(f"wrote {equivalence_page.PAGE}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
