"""The picture of validation losses by step for several recipes, docs/images/losses.svg.

    python -m benchmarks.loss_curves [--table benchmarks/curves.jsonl] [FILE.svg]

It is drawn from trials of `benchmarks.recipe_search` that were validated on the way (a smaller
`validate_every`). Trials of other seeds are a band from the lowest to the highest loss around their
mean.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = Mapping[str, Any]

FEWEST_CHECKS = 5
SIZE = {"hidden_dim": 128, "num_layers": 4}
RECIPES = {  # Name: what tells its trials from others, its colour.
    "GPT-2's parts, AdamW": ({"positions": "learned", "optimizer": "adamw"}, "#d55e00"),
    "the defaults: rotary positions, RMS and query/key norms, squared ReLU, Muon": (
        {"positions": "rope", "optimizer": "muon", "query_key_norm": True},
        "#0072b2",
    ),
}
TITLES = {
    "tinyshakespeare": "tinyshakespeare, characters",
    "python-stdlib": "python-stdlib, 4,096 pieces",
}


def of_recipe(rows: Sequence[Row], corpus: str, wanted: Mapping[str, Any]) -> list[Row]:
    """Returns the trials of a recipe on a corpus that were validated on the way."""
    found = []
    for row in rows:
        options = {**row["model"], **row["train"]}
        wanted_options = {**SIZE, **wanted}.items()
        alike = all(options.get(name) == value for name, value in wanted_options)
        if row["corpus"] == corpus and alike and len(row["checks"]) >= FEWEST_CHECKS:
            found.append(row)
    return found


def curve(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps (C,) and the losses (R, C) of the C validations of R trials.

    Raises:
        ValueError: the trials were validated at other steps.
    """
    if len({tuple(check["step"] for check in row["checks"]) for row in rows}) != 1:
        raise ValueError("trials of one recipe were validated at other steps")
    steps = np.array([check["step"] for check in rows[0]["checks"]])
    losses = np.array([[check["loss"] for check in row["checks"]] for row in rows])
    return steps, losses


def draw_corpus(axes: Axes, rows: Sequence[Row], corpus: str) -> None:
    """Draws the curves of all recipes on a corpus."""
    for name, (wanted, colour) in RECIPES.items():
        if trials := of_recipe(rows, corpus, wanted):
            steps, losses = curve(trials)
            axes.plot(steps, losses.mean(0), color=colour, linewidth=2, label=name)
            axes.fill_between(steps, losses.min(0), losses.max(0), color=colour, alpha=0.25)
    axes.set_title(TITLES[corpus], fontsize=11)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)


def draw(table: str, path: str) -> None:
    """Writes the picture; the same bytes each time."""
    rows = [json.loads(line) for line in Path(table).read_text(encoding="utf-8").splitlines()]
    with rc_context({"svg.hashsalt": "tfscale", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        all_axes = figure.subplots(1, len(TITLES))
        for axes, corpus in zip(all_axes, TITLES, strict=True):
            draw_corpus(axes, rows, corpus)
        all_axes[0].set_ylabel("validation loss, nats per token")
        figure.supxlabel("optimizer step, of 300", fontsize=10)
        handles, labels = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
        metadata = {"Date": None} if path.endswith(".svg") else None
        figure.savefig(path, facecolor="white", metadata=metadata)


def main() -> None:
    """Reads the options, and draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", default="benchmarks/curves.jsonl")
    parser.add_argument("file", nargs="?", default="docs/images/losses.svg")
    options = parser.parse_args()
    draw(options.table, options.file)


if __name__ == "__main__":
    main()
