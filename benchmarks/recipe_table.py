"""The table of a search for a recipe: trials with other seeds together, the lowest loss first.

A row of the table is what `benchmarks.recipe_search` writes for a trial.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

Row = Mapping[str, Any]


def loss_after(row: Row, tokens: int) -> float:
    """Returns the validation loss after tokens of training; NaN where there was none."""
    size = row["tokens_per_step"]
    return next((c["loss"] for c in row["checks"] if c["step"] * size == tokens), np.nan)


def loss_at_time(row: Row, seconds: float) -> float:
    """Returns the validation loss after CPU seconds of steps, on a line between two validations;
    NaN before the first and after the last."""
    times = [check["cpu_seconds"] for check in row["checks"]]
    if not times or not times[0] <= seconds <= times[-1]:
        return np.nan
    return float(np.interp(seconds, times, [check["loss"] for check in row["checks"]]))


def common_tokens(rows: Sequence[Row]) -> int:
    """Returns the most tokens after which all rows have a validation; 0 where there are none."""
    seen = [{c["step"] * row["tokens_per_step"] for c in row["checks"]} for row in rows]
    return max(set.intersection(*seen), default=0) if seen else 0


def flat(row: Row) -> dict[str, Any]:
    """Returns the options of a row, such as `model.num_heads`, by name."""
    return {f"{name}.{key}": row[name][key] for name in ("model", "train") for key in row[name]}


def common(rows: Sequence[Row]) -> dict[str, Any]:
    """Returns the options that all rows have alike."""
    first, *others = map(flat, rows)
    absent = object()
    return {n: v for n, v in first.items() if all(o.get(n, absent) == v for o in others)}


def listed(options: Mapping[str, Any]) -> str:
    """Returns options in a line."""
    return ", ".join(f"{name}={value}" for name, value in sorted(options.items()))


def together(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Returns the rows of each set of options, over all seeds, by the options that are not those of
    all rows."""
    found: dict[str, list[Row]] = {}
    shared = common(rows) if rows else {}
    for row in rows:
        own = {name: value for name, value in flat(row).items() if name not in shared}
        found.setdefault(listed(own) or "no more", []).append(row)
    return found


def cell(losses: Sequence[float]) -> str:
    """Returns the mean and, after +-, half of the range; "" where a loss is missing."""
    if not losses or np.isnan(losses).any():
        return ""
    spread = f" +- {np.ptp(losses) / 2:.4f}" if len(losses) > 1 else ""
    return f"{np.mean(losses):.4f}{spread}"


def show(rows: Sequence[Row], cpu_seconds: float, console: Console) -> None:
    """Prints two tables for each data set: by loss after as many tokens and as much CPU time.

    Args:
        rows: of the table, those that failed too.
        cpu_seconds: the time to compare at; 0 takes the most that all trials have.
        console: where to.
    """
    by_data: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_data.setdefault((row["corpus"], row["data"]["digest"]), []).append(row)
    for (corpus, digest), found in by_data.items():
        whole = [row for row in found if row["checks"] and not row["failed"]]
        failed = len(found) - len(whole)
        if whole:
            line = f"{corpus} ({digest}); all trials: {listed(common(whole))}"
            console.print(line, highlight=False, soft_wrap=True)
        tokens = common_tokens(whole)
        most = min((row["checks"][-1]["cpu_seconds"] for row in whole), default=0.0)
        seconds = cpu_seconds or most
        by_tokens = {
            label: [loss_after(row, tokens) for row in group]
            for label, group in together(whole).items()
        }
        by_time = {
            label: [loss_at_time(row, seconds) for row in group]
            for label, group in together(whole).items()
        }
        _print(f"loss after {tokens:,} tokens", by_tokens, whole, console)
        _print(f"loss after {seconds:,.1f} CPU s of steps", by_time, whole, console)
        if failed:
            console.print(f"{failed} of {len(found)} trials failed, and are left out")


def _print(
    title: str, losses: Mapping[str, Sequence[float]], rows: Sequence[Row], console: Console
) -> None:
    """Prints one table, the lowest mean first and what has none last."""
    table = Table("also", "loss, nats a token", "seeds", "weights", "CPU ms a step", title=title)
    groups = together(rows)
    for label in sorted(losses, key=lambda label: np.nan_to_num(np.mean(losses[label]), nan=1e9)):
        group = groups[label]
        speed = np.mean([1000 * row["cpu_seconds"] / row["steps"] for row in group])
        table.add_row(
            label,
            cell(losses[label]),
            str(len(group)),
            f"{group[0]['parameters']:,}",
            f"{speed:.1f}",
        )
    console.print(table)
