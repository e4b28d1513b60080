"""The best of the measured files, the bounds that it misses, and the table and picture of all."""

from typing import TYPE_CHECKING

from tfscale.config.compression import SearchConfig
from tfscale.files.json_text import JsonObject
from tfscale.ui.plots import FIRST, MUTED, SECOND, draw
from tfscale.ui.report import render_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cell = str | float | None
"""A cell of the table."""
Figures = JsonObject
"""The figures of a file by name: numbers, and what it is made of."""
State = JsonObject
"""The content of search.json; see `search_run`."""
LARGE_INCREASE = 200
"""Per cent of perplexity above which the picture's axis is logarithmic."""


def size_of(figures: Figures, bounds: SearchConfig) -> int:
    """Returns the size that the bounds speak of, in bytes."""
    return figures["gzip_bytes" if bounds.gzip else "bytes"]


def shortfalls(figures: Figures, bounds: SearchConfig, baseline: Figures) -> dict[str, float]:
    """Returns the bounds that a file misses, each with the fraction by which it does."""
    if "failed" in figures:
        return {"parity": 1.0}
    missed = {}
    if bounds.size_bytes is not None and (size := size_of(figures, bounds)) > bounds.size_bytes:
        missed["target_size"] = size / bounds.size_bytes - 1
    if bounds.increase is not None:
        over = (figures["perplexity"] / baseline["perplexity"] - 1) - bounds.increase
        if over > 0:
            missed["max_perplexity_increase"] = over
    wanted = bounds.target_tokens_per_second
    if wanted and figures["tokens_per_second"] < wanted:
        missed["target_tokens_per_second"] = 1 - figures["tokens_per_second"] / wanted
    return missed


def meets(figures: Figures, bounds: SearchConfig, baseline: Figures) -> bool:
    """Returns whether a file meets all bounds."""
    return not shortfalls(figures, bounds, baseline)


def choose(tried: dict[str, Figures], bounds: SearchConfig, baseline: Figures) -> str:
    """Returns the name of the best file.

    Of those that meet all bounds: the lowest perplexity where a size was asked for, else the
    smallest. Where none does: the one that misses them by the least in sum.
    """
    good = [name for name, figures in tried.items() if meets(figures, bounds, baseline)]
    if not good:
        return min(tried, key=lambda name: sum(shortfalls(tried[name], bounds, baseline).values()))
    if bounds.size_bytes is not None:
        return min(good, key=lambda name: tried[name]["perplexity"])
    return min(good, key=lambda name: size_of(tried[name], bounds))


def pareto(tried: dict[str, Figures], bounds: SearchConfig) -> list[str]:
    """Returns the names of the files that no other is smaller and better than, smallest first."""
    front, lowest = [], float("inf")
    for name in sorted(
        tried, key=lambda name: (size_of(tried[name], bounds), tried[name]["perplexity"])
    ):
        if tried[name]["perplexity"] < lowest:
            front.append(name)
            lowest = tried[name]["perplexity"]
    return front


def line_of(figures: Figures, baseline: Figures) -> str:
    """Returns the figures of a file in a line, beside those of the float32 file."""
    if "failed" in figures:
        return figures["failed"]
    target = (
        f"{100 * figures['target_increase']:+.2f} % on the target text, "
        if "target_increase" in figures
        else ""
    )
    return (
        f"  {figures['bytes']:,} bytes ({figures['bytes'] / baseline['bytes']:.3f} of float32), "
        f"perplexity {figures['perplexity']:.4g} ({100 * figures['increase']:+.2f} %), {target}"
        f"{figures['tokens_per_second']:,.0f} tokens/s"
    )


def table_rows(result: State) -> list[list[Cell]]:
    """Returns a row for each file that was tried, float32 first, a star at trained ones."""
    baseline = result["baseline"]
    table = [_row("float32", baseline, baseline, "")]
    for name, figures in result["candidates"].items():
        if "failed" in figures:
            table.append([name.removesuffix("-tuned"), *[None] * (len(table[0]) - 2), "refused"])
            continue
        mark = "best" if name == result["best"] else "front" if name in result["pareto"] else ""
        mark += " *" if figures["tuned"] else ""
        table.append(_row(name, figures, baseline, mark))
    return table


def head(result: State) -> list[str]:
    """Returns the names of the columns; peak MB are of a process that only runs the file."""
    target = ["target %"] if "target_perplexity" in result["baseline"] else []
    return [
        "file",
        "MB",
        "of float",
        "gzip MB",
        "perplexity",
        "change %",
        "bits/byte",
        *target,
        "tokens/s",
        "peak MB",
        "",
    ]


def legend(result: State) -> list[tuple[str, str]]:
    """Returns the words of the table and their meanings."""
    front = [("front", "no other file that was tried is both as small and as good (in perplexity)")]
    if "target_perplexity" not in result["baseline"]:
        return front
    return [
        *front,
        (
            "perplexity",
            (
                "per token of the run's own tokenizer, whatever tokens the file has, on the same"
                " held-out text"
            ),
        ),
        (
            "target %",
            "change of perplexity on the target text, of which the smaller vocabulary was made",
        ),
        ("tokens/s", "of the file's own tokens"),
    ]


def _row(name: str, figures: Figures, baseline: Figures, mark: str) -> list[Cell]:
    change = 100 * (figures["perplexity"] / baseline["perplexity"] - 1)
    target = []
    if "target_perplexity" in baseline:
        target = [
            round(100 * (figures["target_perplexity"] / baseline["target_perplexity"] - 1), 2)
        ]
    peak = figures["peak_rss_bytes"]
    return [
        name.removesuffix("-tuned"),
        round(figures["bytes"] / 1e6, 3),
        round(figures["bytes"] / baseline["bytes"], 3),
        round(figures["gzip_bytes"] / 1e6, 3),
        figures["perplexity"],
        round(change, 2),
        figures["bits_per_byte"],
        *target,
        round(figures["tokens_per_second"]),
        peak and round(peak / 1e6),
        mark,
    ]


def verdict(result: State) -> str:
    """Returns one sentence: whether the bounds are met, or by how much not."""
    if result["met"]:
        return f"all bounds are met by {result['best']}"
    missing = ", ".join(
        f"{name} by {100 * value:.2f} {'points' if name == 'max_perplexity_increase' else '%'}"
        for name, value in result["shortfalls"].items()
    )
    return f"the bounds are not met: the closest, {result['best']}, misses {missing}"


def write_report(path: str, result: State, bounds: SearchConfig) -> None:
    """Writes the page with the picture and the table."""
    render_report(
        path,
        f"Smaller: {verdict(result)}",
        [
            ("All that was tried (* trained on for its recipe)", head(result), table_rows(result)),
            ("Words of the table", ("", ""), legend(result)),
        ],
        figure=("Size and perplexity", plot(result, bounds)),
    )


def plot(result: State, bounds: SearchConfig) -> str:
    """Returns size against the change of perplexity as an inline SVG, with front and bounds."""
    baseline = result["baseline"]
    tried = {
        name: figures for name, figures in result["candidates"].items() if "failed" not in figures
    }

    def place(figures: Figures) -> tuple[float, float]:
        return size_of(figures, bounds) / 1e6, 100 * (
            figures["perplexity"] / baseline["perplexity"] - 1
        )

    def paint(axes: "Axes") -> None:
        front = [place(tried[name]) for name in result["pareto"]]
        axes.plot(*zip(*front, strict=True), color=FIRST, linewidth=1.2)
        for name, figures in tried.items():
            x, y = place(figures)
            best = name == result["best"]
            axes.plot(x, y, "o", color=SECOND if best else FIRST, markersize=8 if best else 5)
            axes.annotate(
                name.removesuffix("-tuned") + (" (best)" if best else ""),
                (x, y),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=8,
                color=MUTED,
            )
        if bounds.size_bytes is not None:
            axes.axvline(bounds.size_bytes / 1e6, color=SECOND, linewidth=0.9, linestyle="--")
        if bounds.increase is not None:
            axes.axhline(100 * bounds.increase, color=SECOND, linewidth=0.9, linestyle="--")
        if max(place(figures)[1] for figures in tried.values()) > LARGE_INCREASE:
            # Untrained, a vocabulary that leaves out much may be off by a thousand: the others stay
            # apart.
            axes.set_yscale("symlog", linthresh=10)
            axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("MB, gzip" if bounds.gzip else "MB", color=MUTED)
        axes.set_ylabel("perplexity above float32, %", color=MUTED)
        axes.margins(x=0.12, y=0.1)

    return draw(paint, "Size of each file against its perplexity")
