"""Drawings of matplotlib as inline SVG that follows a page's light or dark colours."""

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEXT = "#101010"
MUTED = "#202020"
LINE = "#303030"
FIRST = "#404040"
SECOND = "#505050"
COLOURS = {
    TEXT: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
}
"""Colours to draw in, and those of the page that they become."""
# Text stays text, in the page's font and for screen readers; the salt makes the same drawing the
# same bytes.
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "tfscale", "font.size": 10}


def draw(
    paint: "Callable[[Axes], None]",
    label: str,
    size: tuple[float, float] = (6.4, 3.8),
    grid: str = "y",
) -> str:
    """Returns a drawing as an inline SVG.

    Args:
        paint: draws on the axes it is given, in `TEXT`, `MUTED`, `LINE`, `FIRST` and `SECOND`.
        label: says what is drawn, for screen readers.
        size: width and height in inches.
        grid: axis with lines behind the drawing, "x" or "y".

    Example:
        draw(lambda axes: axes.plot([1, 2], [3, 4], color=FIRST), "A line")
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The page's fonts show the text, which matplotlib only measures.
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font", category=UserWarning
        )
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        paint(axes)
        axes.grid(axis=grid, color=LINE, linewidth=0.7)
        axes.tick_params(colors=MUTED, length=0, which="both")
        for side in axes.spines.values():
            side.set_visible(False)
        drawing = io.StringIO()
        figure.savefig(
            drawing, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return _themed(drawing.getvalue(), label)


def _themed(svg: str, label: str) -> str:
    """Returns a drawing without its XML head, with the page's colours and width, and a label."""
    svg = svg[svg.index("<svg") :]
    for drawn, shown in COLOURS.items():
        svg = svg.replace(drawn, shown)
    head, body = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{label}">{body}'
