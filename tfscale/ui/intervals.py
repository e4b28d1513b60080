"""Pages of figures with their confidence intervals: the groups of `evaluate --slice-by`, and the
pairs of `swap`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfscale.files.json_text import JsonObject
from tfscale.ui.plots import FIRST, MUTED, draw
from tfscale.ui.report import Table, render_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = tuple[str, float, float, float]
"""Name, value, and the two ends of its interval."""
_LONGEST_NAME = 32
"""Characters of a name beside the picture; the table has all."""


def write_slices(path: str, result: JsonObject) -> None:
    """Writes the page of `tfscale evaluate --slice-by`.

    Args:
        path: the .html file.
        result: what `tfscale.analysis.slicing.evaluate_slices` returned.

    Example:
        groups = tfscale.evaluate("run", text=["texts.jsonl"], slice_by="dialect")
        write_slices("groups.html", groups)
    """
    metric, gap = result["metric"].replace("_", " "), result["gap"]
    level = f"{result['confidence']:.0%} interval"
    groups = [
        (name, one["value"], one["low"], one["high"]) for name, one in result["groups"].items()
    ]
    tables: list[Table] = [
        (
            f"Groups, with the {level} of a bootstrap",
            ("group", "examples", metric, "from", "to"),
            [(name, result["groups"][name]["examples"], *figures) for name, *figures in groups],
        ),
        (
            "Largest gap",
            ("highest", "lowest", metric, "from", "to"),
            [(gap["highest"], gap["lowest"], gap["value"], gap["low"], gap["high"])],
        ),
    ]
    if "equalized_odds" in result:
        tables.append(
            (
                "Equalized odds difference",
                ("label", "difference"),
                [
                    (label, "none" if value is None else value)
                    for label, value in result["equalized_odds"].items()
                ],
            )
        )
    picture = (f"{metric.capitalize()} of each group", interval_plot(groups, metric))
    above = f": {gap['highest']} is above {gap['lowest']}" if gap["value"] > 0 else ""
    render_report(path, f"{metric.capitalize()} by group{above}", tables, figure=picture)


def write_swaps(path: str, result: JsonObject) -> None:
    """Writes the page of `tfscale swap`.

    Args:
        path: the .html file.
        result: what `tfscale.analysis.swapping.swap` returned.
    """
    metric = result["metric"].replace("_", " ")
    named = [(f"{pair['a']} / {pair['b']}", pair) for pair in result["pairs"]]
    rows = [
        (name, pair["texts"], pair["mean"], pair["low"], pair["high"], ", ".join(pair["unknown"]))
        for name, pair in named
    ]
    largest = [(name, one["ratio"], one["text"]) for name, pair in named for one in pair["largest"]]
    level = f"{result['confidence']:.0%} interval"
    drawn = [
        (name, pair["mean"], pair["low"], pair["high"]) for name, pair in named if pair["texts"]
    ]
    render_report(
        path,
        f"Swapped words: {metric} in {result['texts']:,} texts",
        [
            (
                (
                    f"Mean over the texts that hold either word (nats), with the {level} of a"
                    " bootstrap"
                ),
                ("pair", "texts", "mean", "from", "to", "unknown words"),
                rows,
            ),
            ("Texts with the largest ratio", ("pair", "ratio", "text"), largest),
        ],
        figure=(
            f"{metric.capitalize()}: above 0 the first word is the likelier one",
            interval_plot(drawn, f"{metric} (nats)", zero=True),
        ),
    )


def interval_plot(rows: Sequence[Row], label: str, zero: bool = False) -> str:
    """Returns values with their intervals, one below the other, as an inline SVG.

    Args:
        rows: name, value, low and high of each.
        label: what the values are.
        zero: draw a line at 0.
    """

    def paint(axes: "Axes") -> None:
        if zero:
            axes.axvline(0, color=MUTED, linewidth=0.9)
        for place, (_, value, low, high) in enumerate(rows):
            axes.plot([low, high], [place, place], color=FIRST, linewidth=2)
            axes.plot(value, place, "o", color=FIRST, markersize=6)
        axes.set_yticks(range(len(rows)), [_tick(name) for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(label, color=MUTED)
        axes.margins(x=0.06)

    size = 6.4, 0.9 + 0.32 * len(rows)
    return draw(paint, f"{label.capitalize()}, with intervals", size, grid="x")


def _tick(name: str) -> str:
    """Returns a name as matplotlib writes it beside a row: one short line without formulas."""
    line = " ".join(name.split())
    return (line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "…").replace(
        "$", r"\$"
    )
