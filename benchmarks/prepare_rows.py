"""The rows of the section prepare: `tfscale prepare` beside SentencePiece's own encoding and beside
`datasets.map`, as nanoGPT's `prepare.py` has it."""

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks import corpus
from benchmarks.rounds import measure
from benchmarks.table import Row, Wanted

if TYPE_CHECKING:
    from benchmarks.sections import Bench

CHARACTERS = 16_000_000
STAGE, WHOLE = "tokenization stage, 1 process", "all of prepare, all cores"
UNIT = "tokens/s per core"


def prepare_rows(bench: "Bench") -> Iterator[Row]:
    """Tokens per second and core, from text to token files."""
    tokenizer = bench.data("pieces") / "data" / "tokenizer"
    text = bench.folder / "repeated.txt"
    characters = CHARACTERS // (4 if bench.quick else 1)
    repeated = corpus.repeated(corpus.read_text(str(bench.text)), characters)
    corpus.write(text, repeated)
    names = {"stage": STAGE, "whole": WHOLE}
    for kind in ("paragraph", "line"):
        given = ("--text", text, "--tokenizer", tokenizer, "--documents", kind)
        sides: dict[str, tuple[object, ...]] = {
            task: ("prepare_side", task, *given) for task in ("library", *names)
        }
        rates = bench.best(sides)
        for task, name in names.items():
            yield Row(
                "prepare",
                f"{name}, a document a {kind}",
                UNIT,
                rates[task],
                rates["library"],
                "SentencePiece, 1 thread",
                Wanted(">=", 0.9 if task == "whole" else 0.8),
            )
    if has_datasets(bench):
        yield from _beside_datasets(bench, repeated)


def has_datasets(bench: "Bench") -> bool:
    """Returns whether Hugging Face's `datasets` is installed; notes it if it is not."""
    if importlib.util.find_spec("datasets") is not None:
        return True
    bench.note("datasets is left out: it is not installed (pip install 'tfscale[benchmark]')")
    return False


def _beside_datasets(bench: "Bench", text: str) -> Iterator[Row]:
    """Byte-pair encoding of documents of a line, by the same tokenizer on both sides."""
    lines, tokenizer = bench.folder / "lines.txt", bench.folder / "byte-pairs"
    # Without blank lines, which are documents for the peer alone.
    corpus.write(lines, "".join(f"{line}\n" for line in text.split("\n") if line.strip()))
    given = ("--text", lines, "--tokenizer", tokenizer)
    measure("prepare_peer", "tokenizer", "--text", bench.text, "--tokenizer", tokenizer)
    sides: dict[str, tuple[object, ...]] = {
        "tfscale": ("prepare_side", "whole", *given, "--documents", "line"),
        "datasets.map, as nanoGPT": ("prepare_peer", "map", *given),
        "datasets.map, batched": ("prepare_peer", "batched", *given),
    }
    rates = bench.best(sides)
    ours = rates.pop("tfscale")
    for name, rate in rates.items():
        wanted = None if "batched" in name else Wanted(">=", 1.5)
        what = f"{WHOLE}, a document a line, byte pairs"
        yield Row("prepare", what, UNIT, ours, rate, name, wanted)
