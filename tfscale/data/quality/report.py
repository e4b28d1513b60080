"""report.html of a data folder: what the corpus is like, and what was dropped and why."""

import os
from typing import TYPE_CHECKING

from tfscale.data.manifest import Manifest
from tfscale.data.quality.statistics import LENGTHS, Statistics
from tfscale.terminal import visible
from tfscale.ui.plots import FIRST, MUTED, SECOND, draw
from tfscale.ui.report import Table, render_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORT_FILE = "report.html"
_DIRECTIONS = {
    code: f"\\u{code:04x}"
    for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Characters by which a text could turn what stands after it on the page around."""


def write_report(directory: str, manifest: Manifest, statistics: Statistics) -> None:
    """Writes the page; it loads nothing from elsewhere.

    Args:
        directory: the data folder.
        manifest: its manifest.
        statistics: of the documents of the training text.
    """
    kept, dropped = statistics.kept.total(), statistics.dropped.total()
    read = kept + dropped
    tables: list[Table] = [
        (
            "Splits",
            ("split", "documents", "tokens", "bytes", "bytes/token"),
            [
                (
                    name,
                    split.documents,
                    split.tokens,
                    split.utf8_bytes,
                    split.utf8_bytes / split.tokens,
                )
                for name, split in manifest.splits.items()
            ],
        ),
        (
            "Documents of the training text",
            ("", ""),
            [("read", read), ("kept", kept), ("dropped", dropped), *_removed(manifest.counts)],
        ),
    ]
    reasons = sorted(statistics.reasons.items(), key=lambda item: (-item[1], item[0]))
    if reasons:
        tables.append(
            (
                "What was dropped",
                ("by", "why", "documents", "%"),
                [
                    (
                        _shown(why[0]),
                        statistics.words(why),
                        count,
                        round(100 * count / read, 2),
                    )
                    for why, count in reasons
                ],
            )
        )
    languages = sorted(statistics.languages.items(), key=lambda item: (-item[1], item[0]))
    if languages:
        tables.append(
            (
                f"Languages of the kept documents, by {manifest.how['languages_by']}",
                ("language", "documents", "%"),
                [(language, count, round(100 * count / kept, 2)) for language, count in languages],
            )
        )
    render_report(
        os.path.join(directory, REPORT_FILE),
        "A corpus",
        tables,
        figure=("Documents by length", _histogram(statistics)),
        passages=[
            (f"{_shown(dropped[0])}: {statistics.words(dropped)}", [*map(_visible, samples)])
            for dropped, _ in reasons
            if (samples := statistics.samples(dropped))
        ],
    )


def _removed(counts: dict[str, int]) -> list[tuple[str, int]]:
    return [
        (f"{name.removeprefix('removed/')} replaced", count)
        for name, count in counts.items()
        if name.startswith("removed/")
    ] + [
        (f"changed by {name.removeprefix('edited/')}", count)
        for name, count in counts.items()
        if name.startswith("edited/")
    ]


def _shown(stage: str) -> str:
    return stage.replace("_", " ")


def _visible(text: str) -> str:
    """Returns a text with its control characters, and those that turn the direction, as codes."""
    return visible(text).translate(_DIRECTIONS)


def _histogram(statistics: Statistics) -> str:
    columns = range(
        min([*statistics.kept, *statistics.dropped]),
        max([*statistics.kept, *statistics.dropped]) + 1,
    )
    kept = [statistics.kept[column] for column in columns]
    dropped = [statistics.dropped[column] for column in columns]

    def paint(axes: "Axes") -> None:
        places = list(range(len(kept)))
        axes.bar(places, kept, color=FIRST, label="kept")
        if any(dropped):
            axes.bar(places, dropped, bottom=kept, color=SECOND, label="dropped")
            axes.legend(frameon=False, labelcolor=MUTED)
        axes.set_xticks(places, [_short(LENGTHS[column]) for column in columns], fontsize=8)
        axes.set_xlabel("characters, from", color=MUTED)
        axes.set_ylabel("documents", color=MUTED)
        axes.set_axisbelow(True)

    return draw(paint, "Documents by their number of characters", (6.4, 3.2))


def _short(length: int) -> str:
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if length >= size:
            return f"{length // size}{letter}"
    return str(length)
