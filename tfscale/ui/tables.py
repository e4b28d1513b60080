"""Results for a person: figures in two columns, and tables."""

from collections.abc import Mapping, Sequence

from tfscale.terminal import plain, print


def number(value: object) -> str:
    """Returns a value in few characters: 1,234 or 0.1235 or yes."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def with_unit(name: str, value: object) -> tuple[str, str]:
    """Returns a figure's name and value with a unit: seconds, bytes and bytes per second.

    Example:
        with_unit("first_token_seconds", 0.00119)    # ("first token", "1.19 ms")
    """
    units: dict[str, list[tuple[float, str]]] = {
        "_bytes_per_second": [(1e9, "GB/s"), (1e6, "MB/s")],
        "_bytes": [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")],
        "_seconds": [(1.0, "s"), (1e-3, "ms"), (1e-6, "us")],
    }
    for ending, sizes in units.items():
        if name.endswith(ending) and isinstance(value, int | float):
            size, unit = next((pair for pair in sizes if value >= pair[0]), sizes[-1])
            return name.removesuffix(ending).replace("_", " "), f"{value / size:,.4g} {unit}"
    return name.replace("_", " "), number(value)


def print_figures(figures: Mapping[str, object]) -> None:
    """Prints names and values in two columns."""
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:{width}}  {number(value)}")


def print_table(
    columns: list[str], rows: list[list[str]], title: str | None = None, left: Sequence[int] = (0,)
) -> None:
    """Prints a table, brackets as text; columns other than `left` are aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title and plain(title), title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(
            plain(column), justify="left" if position in left else "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*map(plain, row))
    # In a pipe or a notebook nobody knows the width, and 80 columns would break words.
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)
