"""What a person sees of a result: figures in two columns, and tables."""

from typing import Any

from tfscale.terminal import plain, print


def number(value: Any) -> str:
    """A value in few characters: 1,234 or 0.1235 or yes."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_figures(figures: dict[str, Any]) -> None:
    """Prints names and values in two columns."""
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:{width}}  {number(value)}")


def print_table(columns: list[str], rows: list[list[str]], title: str | None = None) -> None:
    """Prints a table; all columns but the first are aligned to the right. Square brackets in it are text."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title and plain(title), title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(plain(column), justify="left" if position == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    # In a pipe or a notebook nobody knows the width, and 80 columns would break words.
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)
