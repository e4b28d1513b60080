"""`python -m benchmarks`: tfscale beside its peers, in one run on one machine, as a table of
ratios.

Progress goes to stderr, the table to stdout, and with --json to a file. The exit code is 0 when all
bounds are kept, 1 when one is not, 2 when something could not be measured.
"""

import argparse
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import corpus
from benchmarks.sections import SECTIONS, Bench
from benchmarks.table import Row, show
from tfscale.errors import TfscaleError
from tfscale.files.paths import write_json

PACKAGES = ("tensorflow", "keras", "torch", "sentencepiece", "ai-edge-litert")


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--text",
        help=(
            "plain UTF-8 text; the first 90 %% train, the rest validates (default: 1.1 MB of"
            " python-docs)"
        ),
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer steps and rounds: shows that it runs, not how fast",
    )
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the rows, the machine and the versions to FILE"
    )
    return parser


def machine() -> dict[str, Any]:
    """Returns what the figures depend on: processor, cores, load and versions."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "processor": _processor(),
        "cores": (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": versions,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def run(options: argparse.Namespace, console: Console) -> list[Row]:
    """Measures, prints the table, and writes the JSON file."""
    before, began = machine(), time.monotonic()
    if before["load"] is not None and before["load"] > 0.5:
        print(
            f"the machine is not idle (load {before['load']}): figures will be noisy",
            file=sys.stderr,
        )

    def note(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    text = corpus.read_text(options.text)
    with tempfile.TemporaryDirectory(prefix="tfscale-benchmark-") as folder:
        path = Path(folder) / "text.txt"
        bench = Bench(path, corpus.write(path, text), Path(folder), options.quick, note)
        rows: list[Row] = []
        for name in [options.only] if options.only else SECTIONS:
            note(f"section {name}")
            rows += SECTIONS[name](bench)
    show(rows, console)
    versions = ", ".join(f"{name} {version}" for name, version in before["versions"].items())
    console.print(
        f"{before['processor']}, {before['cores']} cores, load {before['load']} before the run,"
        f" {before['system']}; {versions}; {len(text):,} characters of"
        f" {options.text or 'python-docs'}; {time.monotonic() - began:.0f}"
        f" s{', --quick' if options.quick else ''}",
        soft_wrap=True,
        highlight=False,
    )
    if options.json:
        result = {
            "rows": [row.to_dict() for row in rows],
            "machine": before,
            "quick": options.quick,
        }
        write_json(options.json, result)
    return rows


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    # A table in a file or a pipe is as wide as it needs to be.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    try:
        rows = run(options, console)
    except TfscaleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    missed = [row for row in rows if row.ok is False]
    judged = sum(row.ok is not None for row in rows)
    console.print(f"{judged - len(missed)} of {judged} bounds kept", highlight=False)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
