"""`python -m benchmarks.corpus_growth`: time and memory of `tfscale prepare` from 10 MB to 4 GB of
text, and of the removal of near duplicates among a million documents.

    python -m benchmarks.corpus_growth --sizes 10MB 100MB --near-duplicates 0

Each text is made up (`benchmarks.made_text`: documents of 1 kB, a line each), prepared with a
tokenizer that is trained on it, and removed. The documents for near duplicates have 100 words, and
a fifth of them are edited copies (`benchmarks.near_duplicates`). Each row is written to the table
when it has been measured, in place of an earlier one of its name, and at the end the picture is
drawn from the table: so a text that takes long can be measured by itself.

Memory is the peak of the sum over all processes, looked at every tenth of a second: PSS on Linux
(pages that processes share count once), RSS elsewhere. The exit code is 0 when all is below its
bound, 1 when a row is not, 2 when something could not be measured.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import made_text, near_duplicates
from benchmarks.process_tree import MEASURE, watch
from benchmarks.rounds import BenchmarkError
from tfscale.data.manifest import Manifest
from tfscale.errors import TfscaleError
from tfscale.files.paths import atomic_write

UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}
SIZES = ("10MB", "100MB", "1GB", "4GB")
PREPARE_BYTES, NEAR_DUPLICATES_BYTES = 1_500_000_000, 2_000_000_000
"""Peak memory that `prepare` is to stay below."""
THRESHOLD, COPIES, WORDS = 0.8, 0.2, 100
ROOM = 3
"""Bytes of disk for each byte of text: the text, the documents between the passes, the shards."""

Row = dict[str, Any]


def bytes_of(size: str) -> int:
    """Returns the bytes of a size such as "10MB".

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = re.fullmatch(r"([1-9]\d*)(kB|MB|GB)", size)
    if match is None:
        raise argparse.ArgumentTypeError(f"{size!r} is not a size such as 10MB or 4GB")
    return int(match[1]) * UNITS[match[2]]


def prepare(name: str, text: Path, bound: int, options: Sequence[str], processes: int) -> Row:
    """Prepares a text in processes of its own, and returns its row."""
    data = text.parent / "data"
    command = [sys.executable, "-m", "tfscale", "prepare", "--text", str(text)]
    command += ["--documents", "line", "--processes", str(processes), "--output", str(data)]
    watched = watch([*command, *options], text.parent / "stderr.txt")
    manifest = Manifest.load(str(data))
    return {
        "name": name,
        "options": list(options),
        "text_bytes": text.stat().st_size,
        "kept_documents": sum(split.documents for split in manifest.splits.values()),
        "tokens": sum(split.tokens for split in manifest.splits.values()),
        "processes": processes,
        "wall_seconds": round(watched.wall_seconds, 1),
        "cpu_seconds": round(watched.cpu_seconds, 1),
        "peak_bytes": watched.peak_bytes,
        "measure": MEASURE,
        "bound_bytes": bound,
    }


def of_size(size: str, folder: Path, processes: int) -> Row:
    """Makes and prepares a text of a size."""
    text = folder / "text.txt"
    documents = made_text.write_text(text, bytes_of(size))
    return {**prepare(size, text, PREPARE_BYTES, (), processes), "documents": documents}


def of_near_duplicates(count: int, folder: Path, processes: int) -> Row:
    """Prepares documents of which some are edited copies, which `prepare` is to leave out."""
    text = folder / "text.txt"
    with text.open("w", encoding="utf-8") as file:
        for document, _ in near_duplicates.documents(count, WORDS, COPIES):
            file.write(f"{document}\n")
    options = ("--near-duplicates", str(THRESHOLD))
    name = f"near duplicates of {count:,} documents"
    row = prepare(name, text, NEAR_DUPLICATES_BYTES, options, processes)
    return {**row, "documents": count}


def measured(options: argparse.Namespace) -> Iterator[Row]:
    """Measures what was asked for, and writes each row into the table."""
    tasks = [(size, of_size, size) for size in options.sizes]
    if count := options.near_duplicates:
        tasks.append((f"{count:,} documents", of_near_duplicates, count))
    for name, task, what in tasks:
        size = bytes_of(what) if task is of_size else 10 * WORDS * count
        if shutil.disk_usage(options.folder).free < ROOM * size:
            raise BenchmarkError(
                f"{options.folder} has no {ROOM * size / 1e9:.3g} GB free for {name} of text and"
                " its data; name another folder by --folder"
            )
        print(f"making and preparing {name}", file=sys.stderr, flush=True)
        made = tempfile.mkdtemp(prefix="tfscale-growth-", dir=options.folder)
        try:
            row = task(what, Path(made), options.processes)
        finally:
            if options.keep:
                print(f"kept: {made}", file=sys.stderr, flush=True)
            else:
                shutil.rmtree(made)
        keep_row(options.table, row)
        yield row


def read_rows(table: Path) -> list[Row]:
    """Returns the rows of a table; none where there is no such file."""
    if not table.exists():
        return []
    return [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]


def keep_row(table: Path, row: Row) -> None:
    """Writes a row into a table, in place of the one of its name."""
    rows = [other for other in read_rows(table) if other["name"] != row["name"]]
    rows = sorted([*rows, row], key=lambda row: (row["bound_bytes"], row["text_bytes"]))
    with atomic_write(str(table)) as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def show(rows: Sequence[Row], console: Console) -> None:
    """Prints rows as a table."""
    table = Table(title="tfscale prepare, from a text to shards")
    for name in ("text", "documents", "kept", "tokens", "wall", "processor", MEASURE, "below"):
        table.add_column(name, justify="left" if name == "text" else "right")
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['documents']:,}",
            f"{row['kept_documents']:,}",
            f"{row['tokens']:,}",
            f"{row['wall_seconds']:,.1f} s",
            f"{row['cpu_seconds']:,.1f} s",
            f"{row['peak_bytes'] / 1e6:,.0f} MB",
            f"{row['bound_bytes'] / 1e6:,.0f} MB" + ("" if is_within(row) else ": NO"),
        )
    console.print(table)


def is_within(row: Row) -> bool:
    """Returns whether a row is below its bound."""
    return row["peak_bytes"] < row["bound_bytes"]


def main(arguments: list[str] | None = None) -> int:
    """Reads the options, measures, prints and draws."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.corpus_growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--sizes", nargs="*", default=SIZES, metavar="SIZE", help="such as 10MB or 4GB")
    add("--near-duplicates", type=int, default=1_000_000, metavar="N", help="0 leaves them out")
    add("--processes", type=int, default=2, help="of prepare (default: 2)")
    add("--folder", default=tempfile.gettempdir(), help="where texts are made and removed")
    add("--keep", action="store_true", help="do not remove the texts and the data")
    add("--table", type=Path, default=Path("benchmarks/growth.jsonl"), metavar="FILE.jsonl")
    add("--picture", default="docs/images/growth.svg", metavar="FILE.svg")
    options = parser.parse_args(arguments)
    try:
        for size in options.sizes:
            bytes_of(size)
        rows = list(measured(options))
    except (argparse.ArgumentTypeError, TfscaleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from benchmarks.growth_picture import draw

    show(rows, Console() if sys.stdout.isatty() else Console(width=140))
    draw(read_rows(options.table), options.picture)
    return 0 if all(map(is_within, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
