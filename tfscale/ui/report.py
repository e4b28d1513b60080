"""A report that is one HTML file: tables, the loss curve, samples and checks, in light and dark, on
a phone too.

Nothing is loaded from elsewhere: the style and the curve (SVG) are inside the file.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tfscale.files.paths import atomic_write
from tfscale.ui.plots import COLOURS, FIRST, MUTED, SECOND, draw
from tfscale.ui.rendering import render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]
"""Caption, column names, rows."""
Record = Mapping[str, float | None]
"""A line of history.jsonl: `step`, and figures that may be missing or not finite."""
Curve = tuple[str, str, list[float], list[float]]
"""Name, drawn colour, steps and losses."""


def render_report(
    path: str,
    title: str,
    tables: Iterable[Table],
    history: Iterable[Record] = (),
    samples: Iterable[tuple[str, str]] = (),
    checks: Iterable[Mapping[str, object]] = (),
    figure: tuple[str, str] = ("", ""),
    passages: Iterable[tuple[str, Sequence[str]]] = (),
) -> None:
    """Writes a self-contained HTML report.

    Args:
        path: the .html file, written atomically.
        title: heading of the page.
        tables: caption, column names and rows; numbers are formatted, strings are shown as they
            are. Where all column names are empty the table has no head.
        history: lines of a run's history.jsonl: `loss` and `val_loss` (nats per token) are drawn
            over `step`.
        samples: prompts and what a model wrote after them.
        checks: rows with `name`, `value`, `rule`, `limit` and `passed`; a row without limit is
            shown as measured.
        figure: caption and inline SVG of a picture that comes after the first table, as
            `tfscale.ui.plots.draw` makes it.
        passages: captions and texts that stand under them.

    Example:
        sizes = ("Sizes", ("file", "bytes"), [("model.tflite", 5_580_800)])
        render_report("report.html", "A run", [sizes], samples=[("def main(", "self):")])
    """
    check_rows, records = list(checks), list(history)
    page = render(
        "tfscale.ui",
        "report.html.j2",
        title=title,
        tables=[
            (
                caption,
                list(names),
                list(rows),
                [_is_numeric(column) for column in zip(*rows, strict=True)],
            )
            for caption, names, rows in tables
        ],
        curve=loss_curve(records),
        legend=[
            (label, COLOURS[colour], losses[-1]) for label, colour, _, losses in _curves(records)
        ],
        samples=list(samples),
        figure=figure,
        passages=[(caption, list(texts)) for caption, texts in passages],
        checks=check_rows,
        failed=sum(not row["passed"] for row in check_rows),
        limited=sum(row.get("limit") is not None for row in check_rows),
    )
    with atomic_write(path, "w") as file:
        file.write(page)


def _is_numeric(column: Sequence[object]) -> bool:
    numbers = [
        isinstance(value, int | float) and not isinstance(value, bool)
        for value in column
        if value is not None
    ]
    return bool(numbers) and all(numbers)


def loss_curve(history: Iterable[Record]) -> str:
    """Returns training and validation loss over steps as an inline SVG; "" for nothing to draw."""
    curves = _curves(history)
    if not curves:
        return ""

    def paint(axes: "Axes") -> None:
        for _, colour, steps, losses in curves:
            marker = "o" if colour == SECOND or len(steps) == 1 else None
            width = 1.6 if marker else 1.1
            axes.plot(steps, losses, color=colour, linewidth=width, marker=marker, markersize=3.5)
        axes.set_xlabel("optimizer step", color=MUTED)
        axes.set_ylabel("loss (nats per token)", color=MUTED)
        axes.margins(x=0.01)

    return draw(paint, "Training and validation loss over optimizer steps", (5.2, 2.9))


def _curves(history: Iterable[Record]) -> list[Curve]:
    """Returns the curves that the history has, of losses that are finite."""
    records = list(history)
    curves: list[Curve] = []
    for key, label, colour in (("loss", "training", FIRST), ("val_loss", "validation", SECOND)):
        points = [
            (record["step"] or 0, loss)
            for record in records
            if (loss := record.get(key)) is not None and math.isfinite(loss)
        ]
        if points:
            steps, losses = zip(*points, strict=True)
            curves.append((label, colour, list(steps), list(losses)))
    return curves
