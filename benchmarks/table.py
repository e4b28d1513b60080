"""The rows of the result: ours beside a peer, what is wanted of their ratio, and the verdict."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Wanted:
    """A bound: `relation` and `bound`; "+-" wants a ratio within `bound` of 1.

    Example:
        Wanted(">=", 1.4).met_by(1.51)    # True
    """

    relation: Literal[">=", "<=", "<", "+-"]
    bound: float

    def met_by(self, value: float) -> bool:
        """Returns whether `value` keeps to the bound; NaN does not."""
        if math.isnan(value):
            return False
        if self.relation == ">=":
            return value >= self.bound
        if self.relation == "<=":
            return value <= self.bound
        if self.relation == "<":
            return value < self.bound
        return abs(value - 1) <= self.bound

    def __str__(self) -> str:
        return (
            f"1 +- {self.bound:g}" if self.relation == "+-" else f"{self.relation} {self.bound:g}"
        )


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        section: "training", "bfloat16", "fit", "quality", "input", "reading",
            "prepare" or "device".
        what: what was measured.
        unit: of `ours` and `peer`.
        ours: tfscale's figure.
        peer: the figure it is compared with; None where it is compared with nothing but the bound.
        peer_name: whose figure that is.
        wanted: bound of the ratio, or of `ours` where there is no peer; None where the row is for
            information.
        ratios: ours over the peer's in each round, where both ran in turn; empty elsewhere.
    """

    section: str
    what: str
    unit: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    wanted: Wanted | None = None
    ratios: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's, the median of the rounds; NaN where the peer's is 0."""
        if self.ratios:
            return statistics.median(self.ratios)
        if self.peer is None:
            return None
        return self.ours / self.peer if self.peer else math.nan

    @property
    def shown_ratio(self) -> str:
        """The ratio as people read it, with the quartiles of the rounds."""
        if self.ratio is None:
            return ""
        if len(self.ratios) < 2:
            return f"{self.ratio:.3f}"
        low, _, high = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return f"{self.ratio:.3f} ({low:.2f} to {high:.2f})"

    @property
    def ok(self) -> bool | None:
        """The verdict; None for a row that wants nothing."""
        if self.wanted is None:
            return None
        return self.wanted.met_by(self.ours if self.ratio is None else self.ratio)

    def to_dict(self) -> dict[str, Any]:
        """The row with its ratio and verdict, as plain values."""
        return {
            **dataclasses.asdict(self),
            "ratio": self.ratio,
            "wanted": None if self.wanted is None else str(self.wanted),
            "ok": self.ok,
        }


def show(rows: Sequence[Row], console: Console) -> None:
    """Prints the rows as a table."""
    table = Table(title="tfscale beside its peers")
    for name, justify in (
        ("what", "left"),
        ("ours", "right"),
        ("peer", "right"),
        ("peer is", "left"),
        ("ratio", "right"),
        ("wanted", "right"),
        ("ok?", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    section = ""
    for row in rows:
        if section and row.section != section:
            table.add_section()
        section = row.section
        table.add_row(
            f"{row.section}: {row.what} ({row.unit})",
            figure(row.ours),
            "" if row.peer is None else figure(row.peer),
            row.peer_name,
            row.shown_ratio,
            "" if row.wanted is None else str(row.wanted),
            {True: "yes", False: "NO", None: ""}[row.ok],
        )
    console.print(table)


def figure(value: float) -> str:
    """Four significant digits, thousands with commas.

    Example:
        figure(38387.6), figure(1.9051), figure(0.00123)    # "38,388", "1.905", "0.00123"
    """
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
