"""The picture of the learning rates of all schedules, docs/images/schedules.svg.

python -m benchmarks.schedule_curves [FILE.svg]
"""

import sys

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from tfscale.config import TrainConfig
from tfscale.training.schedule import build_schedule

STEPS, WARMUP = 1000, 100
COLOURS = {
    "constant": "#0072b2",
    "wsd": "#d55e00",
    "inverse_sqrt": "#009e73",
    "linear": "#cc79a7",
    "cosine": "#332288",
}
LABELS = {  # Step at which the name stands, and its distance from the curve in points.
    "constant": (930, (0, 5)),
    "wsd": (905, (8, 0)),
    "inverse_sqrt": (300, (-4, -18)),
    "linear": (300, (-4, -12)),
    "cosine": (430, (6, 4)),
}


def rates(name: str) -> np.ndarray:
    """Returns the rate of each step as a share of the peak, (STEPS,)."""
    config = TrainConfig(schedule=name, learning_rate=1.0, warmup_steps=WARMUP, steps=STEPS)
    schedule = build_schedule(config)
    return np.asarray(schedule(np.arange(STEPS)))


def draw(path: str) -> None:
    """Writes the picture; the same bytes each time."""
    style = {"svg.hashsalt": "tfscale", "svg.fonttype": "none", "font.size": 11}
    with rc_context(style):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for name, colour in COLOURS.items():
            curve = rates(name)
            axes.plot(curve, color=colour, linewidth=2)
            step, distance = LABELS[name]
            axes.annotate(
                name,
                (step, curve[step]),
                xytext=distance,
                textcoords="offset points",
                color=colour,
                ha="right" if distance[0] < 0 else "left" if distance[0] else "center",
            )
        axes.set_xlabel(f"optimizer step of {STEPS:,}, after {WARMUP} of warm-up")
        axes.set_ylabel("learning rate / peak")
        axes.set_xlim(0, STEPS)
        axes.set_ylim(0, 1.12)
        axes.spines[["top", "right"]].set_visible(False)
        metadata = {"Date": None} if path.endswith(".svg") else None
        figure.savefig(path, facecolor="white", metadata=metadata)


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else "docs/images/schedules.svg")
