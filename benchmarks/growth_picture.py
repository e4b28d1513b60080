"""The picture of how time and memory of `prepare` grow, docs/images/growth.svg.

    python -m benchmarks.growth_picture [--table benchmarks/growth.jsonl] [FILE.svg]

It is drawn from the table of `benchmarks.corpus_growth`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

TIME, MEMORY, BOUND = "#0072b2", "#d55e00", "#777777"
SIZE_LABELS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def size_label(size: float, _: int | None = None) -> str:
    """Returns a number of bytes in the largest unit of which it has one.

    Example:
        size_label(4e9)    # "4 GB"
    """
    unit, name = next(((unit, name) for unit, name in SIZE_LABELS if size >= unit), (1, "bytes"))
    return f"{size / unit:g} {name}"


def draw(rows: Sequence[dict[str, Any]], path: str) -> None:
    """Writes the picture of the texts that were prepared without options; the same bytes each
    time."""
    rows = [row for row in rows if not row["options"]]
    sizes = [row["text_bytes"] for row in rows]
    with rc_context({"svg.hashsalt": "tfscale", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        time, memory = figure.subplots(1, 2)
        for axes, title in ((time, "processor seconds"), (memory, "peak memory, all processes")):
            axes.set_title(title, fontsize=11)
            axes.set_xscale("log")
            axes.set_xticks(sizes, [size_label(float(f"{size:.1g}")) for size in sizes])
            axes.minorticks_off()
            axes.spines[["top", "right"]].set_visible(False)
        time.set_yscale("log")
        _line(time, sizes, [row["cpu_seconds"] for row in rows], TIME, "{:,.0f} s")
        time.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        _line(memory, sizes, [row["peak_bytes"] for row in rows], MEMORY, "")
        bound = rows[0]["bound_bytes"] if rows else 0
        memory.axhline(bound, color=BOUND, linestyle="--", linewidth=1)
        memory.annotate("bound", (0.01, bound), ("axes fraction", "data"), va="bottom", color=BOUND)
        memory.set_ylim(0, 1.15 * max([bound, *(row["peak_bytes"] for row in rows)]))
        memory.yaxis.set_major_formatter(FuncFormatter(size_label))
        figure.supxlabel("text", fontsize=10)
        metadata = {"Date": None} if path.endswith(".svg") else None
        figure.savefig(path, facecolor="white", metadata=metadata)


def _line(
    axes: Axes, sizes: Sequence[int], values: Sequence[float], colour: str, label: str
) -> None:
    axes.plot(sizes, values, color=colour, linewidth=2, marker="o")
    for size, value in zip(sizes, values, strict=True):
        text = label.format(value) if label else f"{value / 1e6:,.0f} MB"
        axes.annotate(text, (size, value), (0, 8), textcoords="offset points", ha="center")


def main() -> None:
    """Reads the options, and draws."""
    from benchmarks.corpus_growth import read_rows

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=Path("benchmarks/growth.jsonl"))
    parser.add_argument("file", nargs="?", default="docs/images/growth.svg")
    options = parser.parse_args()
    draw(read_rows(options.table), options.file)


if __name__ == "__main__":
    main()
