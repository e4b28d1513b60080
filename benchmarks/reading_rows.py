"""The rows of the section reading: the batches of shards alone, beside what a step takes."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks.reading_side import BATCH
from benchmarks.rounds import measure
from benchmarks.table import Row, Wanted

if TYPE_CHECKING:
    from benchmarks.sections import Bench

CPU_STEP, ACCELERATOR_STEP = 20_000, 1_000_000
"""Tokens per second of the fastest step of this project's models on two cores, and of one of a GPU
or TPU that is not the smallest."""
SHARDS, LENGTHS = (1, 100, 2000), (128, 1024)
TOKENS, QUICK_TOKENS = 400_000_000, 20_000_000
STEP = 100_000
LONGEST_RESUME = 10.0
"""Seconds within which a run that goes on should have its first batch."""


def reading_rows(bench: "Bench") -> Iterator[Row]:
    """Tokens per second of one core, and seconds to the first batch of two steps.

    The two steps are 100,000, wherever in an epoch that is, and the last but 99 of the first epoch,
    before which most is to be passed over.
    """
    tokens = QUICK_TOKENS if bench.quick else TOKENS
    seconds = 1 if bench.quick else 5
    for shards in SHARDS:
        data = bench.folder / f"shards{shards}"
        bench.note(f"making {tokens:,} tokens in {shards} shards")
        measure("reading_side", "make", "--data", data, "--shards", shards, "--tokens", tokens)
        for length in LENGTHS:
            given = ("--data", data, "--length", length)
            what = f"{shards} shard{'s' if shards > 1 else ''}, T {length}, B {BATCH}"
            read = measure("reading_side", "rate", *given, "--seconds", seconds)
            rate = read["tokens_per_second"]
            yield Row(
                "reading",
                f"{what}, one core",
                "tokens/s",
                rate,
                ACCELERATOR_STEP,
                "a step of an accelerator",
                Wanted(">=", 1.0),
            )
            yield Row(
                "reading",
                f"{what}: share of a core while a CPU trains",
                "1",
                CPU_STEP / rate,
                wanted=Wanted("<", 0.01),
            )
            for step, where in ((STEP, f"step {STEP:,}"), (-100, "the last step but 99")):
                resumed = measure("reading_side", "resume", *given, "--step", step)
                yield Row(
                    "reading",
                    f"{what}: first batch of {where}",
                    "s",
                    resumed["seconds"],
                    wanted=Wanted("<=", LONGEST_RESUME),
                )
        shutil.rmtree(data, ignore_errors=True)
