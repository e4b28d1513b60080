"""The table of `tfscale compare`, and its page with a picture of size against quality."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tfscale.files.json_text import JsonObject
from tfscale.ui.plots import FIRST, MUTED, draw
from tfscale.ui.report import render_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEAD = (
    "model",
    "parameters",
    "perplexity",
    "bits/byte",
    "unknown %",
    "trained tokens",
    "training tokens/s",
    "minutes",
    "int8 MB",
    "device tokens/s",
)


def table_rows(models: Mapping[str, JsonObject]) -> list[list[object]]:
    """Returns a row for each model; see `HEAD`."""
    return [
        [
            name,
            m["parameters"],
            m["perplexity"],
            m["bits_per_byte"],
            # A comparison that was begun earlier has not counted them.
            None if m.get("unknown_share") is None else round(100 * m["unknown_share"], 2),
            m["train_tokens"],
            None if m["train_tokens_per_second"] is None else round(m["train_tokens_per_second"]),
            round(m["train_seconds"] / 60, 1),
            round(m["file_bytes"] / 1e6, 2),
            round(m["device_tokens_per_second"]),
        ]
        for name, m in models.items()
    ]


def write_report(path: str, models: Mapping[str, JsonObject], split: str) -> None:
    """Writes the page.

    Args:
        path: HTML file to write.
        models: the figures of each model, as compare.json has them.
        split: name of the split that they were scored on.
    """
    # All read the same tokens, so their perplexities are in the order of their bits per byte, which
    # may be withheld.
    best = min(models, key=lambda name: models[name]["perplexity"])
    figure = "Size of the int8 file and " + _scale(models)[1]
    render_report(
        path,
        f"{len(models)} models on the {split} split: {best} predicts it best",
        [("Trained with the same budget", HEAD, table_rows(models))],
        figure=(figure, _plot(models)),
    )


def _scale(models: Mapping[str, JsonObject]) -> tuple[str, str]:
    """Returns the figure of the picture and its name: perplexity where bits are not known."""
    known = all(figures["bits_per_byte"] is not None for figures in models.values())
    return ("bits_per_byte", "bits per byte") if known else ("perplexity", "perplexity")


def _plot(models: Mapping[str, JsonObject]) -> str:
    """Size of the int8 file against how well it predicts as an inline SVG."""
    key, label = _scale(models)

    def paint(axes: "Axes") -> None:
        for name, figures in models.items():
            x, y = figures["file_bytes"] / 1e6, figures[key]
            axes.plot(x, y, "o", color=FIRST, markersize=6)
            axes.annotate(
                name, (x, y), xytext=(6, 4), textcoords="offset points", fontsize=9, color=MUTED
            )
        axes.set_xscale("log")
        axes.set_xlabel("MB of the int8 file", color=MUTED)
        axes.set_ylabel(label, color=MUTED)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.margins(x=0.2, y=0.15)

    return draw(paint, f"Size of each model's file against its {label}")
