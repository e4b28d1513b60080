"""`python -m benchmarks.fuzz`: every kind of file that tfscale reads, damaged at random, as a table
of what it says.

The inputs are made first: tiny data, runs, exports. Each file is then damaged thousands of times
(bits, bytes, cut, filled, inserted; JSON and YAML also by their fields), and read in a forked child
with a limit of time and memory. What may come out is a clear error (a `TfscaleError`, or a note
about a damaged log) or the same result; another result is right only of files without a checksum,
where another number is another valid file. The exit code is 0 when there was no traceback, no crash
and no hang, else 1; `--keep FOLDER` keeps the files that ended so.

Fork needs Linux or macOS. TensorFlow is loaded once and used in the children alone: 4,000 of them
take a few minutes.
"""

import argparse
import collections
import hashlib
import importlib.util
import json
import multiprocessing
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import fuzz_tflite
from benchmarks.fuzz_inputs import CASES, PRELOADED, Case, make_inputs
from tfscale.errors import TfscaleError

OUTCOMES = ("clear error", "traceback", "process crash", "hang", "same result", "other result")
BAD = ("traceback", "process crash", "hang")
_STRUCTURES = "tflite structural"
HANG_SECONDS = 60
MEMORY_BYTES = 4 << 30
"""Bytes that a child may take beside the address space that it starts with."""
_NUMBERS: tuple[Any, ...] = (
    0,
    -1,
    1,
    7,
    2**31,
    2**40,
    2**63,
    10**30,
    1e308,
    float("nan"),
    "9",
    "",
    None,
    [],
    {},
    True,
    [None],
    {"a": 1},
    "../x",
    "x" * 5000,
    "\x1b[31m",
)


def damage_bytes(content: bytes, draw: random.Random) -> bytes:
    """A file after one of the accidents that happen to files."""
    data = bytearray(content)
    at = draw.randrange(max(1, len(data)))
    end = min(len(data), at + draw.choice((1, 4, 64, 4096)))
    kind = draw.choice(("bit", "bit", "byte", "byte", "cut", "zeros", "ones", "insert", "remove"))
    if kind == "bit" and data:
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "byte" and data:
        data[at] = draw.randrange(256)
    elif kind == "cut":
        del data[at:]
    elif kind in ("zeros", "ones"):
        data[at:end] = (b"\0" if kind == "zeros" else b"\xff") * (end - at)
    elif kind == "insert":
        data[at:at] = draw.randbytes(draw.choice((1, 4, 64)))
    else:
        del data[at:end]
    return bytes(data)


def damage_fields(value: Any, draw: random.Random) -> Any:
    """A JSON value with one field removed, misspelt, or of another type or size."""
    places: list[tuple[Any, Any]] = []

    def collect(inner: Any) -> None:
        items = list(inner.items()) if isinstance(inner, dict) else list(enumerate(inner))
        for key, item in items:
            places.append((inner, key))
            if isinstance(item, dict | list):
                collect(item)

    value = json.loads(json.dumps(value))
    collect(value)
    if not places:
        return draw.choice(_NUMBERS)
    holder, key = draw.choice(places)
    kind = draw.choice(("remove", "misspell", "replace", "replace", "replace", "replace"))
    if kind == "replace" or isinstance(holder, list):
        holder[key] = draw.choice(_NUMBERS)
    else:
        content = holder.pop(key)
        if kind == "misspell":
            holder[f"{key}z"] = content
    return value


def damaged(case: Case, content: bytes, draw: random.Random) -> bytes:
    """The content of a case's file after one mutation."""
    if case.fields is None or draw.random() < 0.4:
        return damage_bytes(content, draw)
    if draw.random() < 0.04:
        return draw.choice(
            (b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}", b"[]", b"null", b"3", b'"x"')
        )
    load, dump = case.fields
    return dump(damage_fields(load(content), draw))


def outcome(action: Callable[[], Any], log: Path) -> tuple[str, str]:
    """Carries out `action` in a forked child; how that ended, and what it said or a digest of its
    result."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _limit()
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        try:
            found = (
                "ok",
                hashlib.sha256(repr(action()).encode("utf-8", "surrogatepass")).hexdigest(),
            )
        except TfscaleError as error:
            found = ("clear error", str(error))
        except BaseException:
            found = ("traceback", traceback.format_exc())
        os.write(writing, json.dumps((found[0], found[1][-10_000:])).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], HANG_SECONDS)
        if not ready:
            os.kill(child, signal.SIGKILL)
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if not ready:
        return "hang", ""
    if not content:
        return "process crash", f"ended with status {status}"
    kind, text = json.loads(content)
    return kind, text


def _limit() -> None:
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def fuzz(case: Case, inputs: Path, mutations: int, seed: int, keep: Path | None) -> dict[str, Any]:
    """Mutates the file of a case; returns a row of the table, with the texts of what should not
    have been."""
    draw = random.Random(f"{case.name} {seed}")
    counts: collections.Counter[str] = collections.Counter()
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        place, log = Path(folder, "copy"), Path(folder, "log")
        shutil.copytree(inputs / case.folder, place, symlinks=True)
        file = place / case.file
        whole = file.read_bytes()
        kind, expected = outcome(lambda: case.read(place, file), log)
        if kind != "ok":
            raise RuntimeError(f"{case.name}: the file as it is cannot be read: {expected}")
        for number in range(mutations):
            content = damaged(case, whole, draw)
            file.write_bytes(content)
            kind, text = outcome(lambda: case.read(place, file), log)
            if kind == "ok":
                kind = "same result" if text == expected else "other result"
            counts[kind] += 1
            if kind in BAD:
                cases.append(
                    f"{number}: {kind}: {text.strip().splitlines()[-1][:200] if text else ''}"
                )
                if keep is not None:
                    name = f"{case.name.replace('/', '-').replace(' ', '-')}-{number}"
                    (keep / name).write_bytes(content)
                    (keep / f"{name}.txt").write_text(text, errors="replace")
    return {
        "input": case.name,
        "mutations": mutations,
        **{name: counts[name] for name in OUTCOMES},
        "cases": cases,
    }


def _rows(
    inputs: Path, wanted: Sequence[Case], share: float, seed: int, keep: Path | None
) -> list[dict[str, Any]]:
    """All cases, two at a time; each process loads TensorFlow once and never runs it."""
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=None) as pool:
        jobs = [
            pool.apply_async(
                _job, (case.name, inputs, max(1, round(case.mutations * share)), seed, keep)
            )
            for case in wanted
        ]
        rows = []
        for case, job in zip(wanted, jobs, strict=True):
            rows.append(job.get())
            print(f"{case.name}: {rows[-1]}", file=sys.stderr, flush=True)
    return rows


def _job(name: str, inputs: Path, mutations: int, seed: int, keep: Path | None) -> dict[str, Any]:
    for module in PRELOADED:
        # The children have it then; what is imported runs no TensorFlow, whose threads a fork would
        # lose.
        if importlib.util.find_spec(module.partition(".")[0]):
            importlib.import_module(module)
    return fuzz(next(case for case in CASES if case.name == name), inputs, mutations, seed, keep)


def main(words: Sequence[str] | None = None) -> int:
    """Makes the inputs, damages them and prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Damages every kind of file and counts what reading it says."
    )
    parser.add_argument(
        "--share", type=float, default=1.0, help="part of the mutations (1: about 5,000)"
    )
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--inputs", help="folder for the inputs; made if it is missing, used again if it is there"
    )
    parser.add_argument(
        "--keep", help="folder for the files that ended in a traceback, a crash or a hang"
    )
    parser.add_argument("--make", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.make:
        make_inputs(Path(options.make))
        return 0
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keep = Path(options.keep) if options.keep else None
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        inputs = Path(options.inputs or temporary)
        if not (inputs / "complete").exists():
            # In a process of its own: what has run TensorFlow cannot be forked.
            subprocess.run(
                [sys.executable, "-m", "benchmarks.fuzz", "--make", str(inputs)], check=True
            )
        wanted = [
            case for case in CASES if options.only in case.name and (inputs / case.folder).exists()
        ]
        rows = _rows(inputs, wanted, options.share, options.seed, keep)
    if options.only in _STRUCTURES:
        rows += fuzz_tflite.rows(round(600 * options.share), options.seed)
    _print(rows, time.perf_counter() - began)
    return int(any(row[name] for row in rows for name in BAD))


def _print(rows: Sequence[dict[str, Any]], seconds: float) -> None:
    table = Table(
        title=(
            f"{sum(row['mutations'] for row in rows):,} mutated files in {seconds / 60:.0f} minutes"
        )
    )
    columns = ("input", "mutations", *OUTCOMES)
    for name in columns:
        table.add_column(name, justify="left" if name == "input" else "right")
    total = {name: sum(row[name] for row in rows) for name in columns[1:]}
    for row in [*rows, {"input": "total", **total}]:
        table.add_row(*(str(row[name]) for name in columns))
    Console(width=140).print(table)
    for row in rows:
        for case in row["cases"]:
            print(f"{row['input']} {case}")


if __name__ == "__main__":
    sys.exit(main())
