"""`python -m benchmarks.memory`: peak memory of a train step, ours and stock Keras's `fit`, as a
table of ratios.

Each row is a process of its own that takes two steps (forward, backward, AdamW) on the same weights
and batch. What is shown is the memory of a step beyond weights, optimizer state and program:
activations, gradients and scratch space.

- "resident": peak resident memory during the second step, less the resident memory right before
  that step.
- "XLA": temporary buffers and results of the step's largest program, by XLA's buffer assignment;
  none where XLA is off.

Ratios are resident memory of the better of Keras's two fits (with and without XLA) over that of the
row. Both losses of every row must equal Keras's to 1e-5. The exit code is 0 when all is well, 1
when losses differ or everything together saves less than 4 x (of a small model: than 1.5 x), 2 when
something could not be measured.
"""

import argparse
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import machine
from benchmarks.memory_side import BATCH_SIZE, SIZES
from benchmarks.rounds import BenchmarkError, measure
from tfscale.files.paths import write_json

LOSS_TOLERANCE = 1e-5
"""Largest difference of a loss from Keras's, as a fraction."""
WANTED_RATIO = {"full": 4.0, "quick": 1.5}
"""How many times less memory than Keras everything together is to take."""
CHUNK = 128
"""Tokens of a chunk of the loss."""

TOGETHER = "tfscale, all together"
"""The row that is held to `WANTED_RATIO`."""

Side = tuple[str, tuple[object, ...]]


def sides(size: str) -> dict[str, list[Side]]:
    """For each model, what is run: names and arguments of `benchmarks.memory_side`; the first two
    are stock Keras."""
    chunk, remat, micro, tied = (
        ("--chunk", CHUNK),
        ("--remat",),
        ("--micro-batches", 4),
        ("--tied",),
    )
    untied: list[Side] = [
        ("Keras fit, XLA", ("stock", "--xla")),
        ("Keras fit, no XLA", ("stock",)),
        ("tfscale.Model", ("model", "--xla")),
        ("tfscale.Model, no XLA", ("model",)),
        ("tfscale", ("ours", "--xla")),
        ("tfscale, remat", ("ours", "--xla", *remat)),
        (TOGETHER, ("ours", "--xla", *micro, *remat, *chunk)),
    ]
    if size == "quick":
        return {"untied": untied}
    more: list[Side] = [
        ("tfscale, 4 micro-batches", ("ours", "--xla", *micro)),
        (f"tfscale, loss in chunks of {CHUNK} tokens", ("ours", "--xla", *chunk)),
        ("tfscale, remat and chunks", ("ours", "--xla", *remat, *chunk)),
    ]
    without_xla: Side = (f"{TOGETHER}, no XLA", ("ours", *micro, *remat, *chunk))
    both = [side for side in [*untied, without_xla] if side[0] != "tfscale, remat"]
    return {
        "untied": [*untied[:-1], *more, untied[-1], without_xla],
        "tied": [(name, (*arguments, *tied)) for name, arguments in both],
    }


def judged(
    model: str, results: dict[str, dict[str, Any]], wanted_ratio: float
) -> list[dict[str, Any]]:
    """The rows of a model: the figures of each side, its ratio to the better Keras, and whether the
    losses are Keras's.

    Args:
        model: "untied" or "tied".
        results: what each side printed; the first two are stock Keras.
        wanted_ratio: of everything together.
    """
    stock = list(results.values())[:2]
    best = min(result["rss_bytes"] for result in stock)
    rows = []
    for name, result in results.items():
        pairs = zip(result["losses"], stock[0]["losses"], strict=True)
        same = all(abs(ours - theirs) <= LOSS_TOLERANCE * abs(theirs) for ours, theirs in pairs)
        ratio = best / result["rss_bytes"]
        wanted = wanted_ratio if name == TOGETHER else None
        rows.append(
            {
                "model": model,
                "name": name,
                **result,
                "ratio": ratio,
                "same_losses": same,
                "wanted_ratio": wanted,
                "ok": same and (wanted is None or ratio >= wanted),
            }
        )
    return rows


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """Prints the rows as a table."""
    table = Table(title="memory of a train step beyond weights and optimizer state")
    for name, justify in (
        ("embeddings", "left"),
        ("what", "left"),
        ("resident", "right"),
        ("XLA", "right"),
        ("Keras / this", "right"),
        ("wanted", "right"),
        ("loss after a step", "right"),
        ("ok?", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        if table.row_count and row["model"] != rows[table.row_count - 1]["model"]:
            table.add_section()
        megabytes = [
            "" if row[key] is None else f"{row[key] / 1e6:,.0f} MB"
            for key in ("rss_bytes", "xla_bytes")
        ]
        wanted = "" if row["wanted_ratio"] is None else f">= {row['wanted_ratio']:g}"
        table.add_row(
            row["model"],
            row["name"],
            *megabytes,
            f"{row['ratio']:.2f}",
            wanted,
            f"{row['losses'][1]:.6f}",
            "yes" if row["ok"] else "NO",
        )
    console.print(table)


def run(options: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Measures, prints the table, and writes the JSON file."""
    size = "quick" if options.quick else "full"
    before = machine()
    rows = []
    for model, chosen in sides(size).items():
        results = {}
        for name, arguments in chosen:
            print(f"{model} embeddings: {name}", file=sys.stderr, flush=True)
            results[name] = measure("memory_side", *arguments, "--size", size)
        rows += judged(model, results, WANTED_RATIO[size])
    show(rows, console)
    shape = SIZES[size]
    versions = ", ".join(f"{name} {before['versions'][name]}" for name in ("tensorflow", "keras"))
    console.print(
        f"Transformer {shape['num_layers']} x {shape['hidden_dim']}, vocabulary"
        f" {shape['vocabulary_size']:,}, T {shape['sequence_length']}, B {BATCH_SIZE}, float32,"
        f" AdamW; {before['processor']}, {before['cores']} cores; {versions}",
        soft_wrap=True,
        highlight=False,
    )
    if options.json:
        write_json(
            options.json,
            {"rows": rows, "machine": before, "size": {**shape, "batch_size": BATCH_SIZE}},
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a small model: shows that it runs, not what it saves"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write the rows and the machine to FILE"
    )
    options = parser.parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=140)
    try:
        rows = run(options, console)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
