"""Families on one text at the same budget, and the LSTM's step beside PyTorch: `make
benchmark-quality`.

    python -m benchmarks.quality --text FILE [--minutes 10] [--output FOLDER] [--json FILE]

The first nine tenths of the text train, the last one validates and chooses the best weights of each
training; all models read the same SentencePiece tokens. The n-gram model is the floor.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.rounds import in_turn
from benchmarks.table import Row, Wanted, show
from tfscale.config import LSTMConfig, NGramConfig, PrepareConfig, TrainConfig, TransformerConfig
from tfscale.config.comparison import CompareConfig
from tfscale.errors import ConfigError

VOCABULARY = 512
TRAIN = TrainConfig(global_batch_size=16, tensorboard=False, final_learning_rate_fraction=0.05)
ENTRIES: dict[str, tuple[Any, TrainConfig]] = {
    "ngram": (NGramConfig(order=5), TRAIN),
    "lstm": (
        LSTMConfig(
            sequence_length=64, embedding_dim=256, hidden_dim=512, tie_embeddings=True, dropout=0.5
        ),
        dataclasses.replace(TRAIN, global_batch_size=32),
    ),
    "transformer": (
        TransformerConfig(
            sequence_length=128, hidden_dim=192, num_layers=4, num_heads=4, dropout=0.2
        ),
        TRAIN,
    ),
}
WANTED = {"transformer": 2.02, "lstm": 2.1}
"""Most bits per byte."""


def prepare(text: str, folder: Path) -> str:
    """The text in two files, and those as shards."""
    from tfscale.data.prepare import prepare as prepare_text

    with open(text, encoding="utf-8") as file:
        content = file.read()
    cut = int(len(content) * 0.9)
    for name, part in (("train", content[:cut]), ("validation", content[cut:])):
        (folder / f"{name}.txt").write_text(part, encoding="utf-8")
    data = str(folder / "data")
    prepare_text(
        PrepareConfig(
            output=data,
            text=[str(folder / "train.txt")],
            validation_text=[str(folder / "validation.txt")],
            test_fraction=0.0,
            vocabulary_size=VOCABULARY,
        )
    )
    return data


def rows(text: str, minutes: float, folder: Path) -> Iterator[Row]:
    """The rows of the table, as they are measured."""
    from tfscale.workflows.compare import compare

    data = prepare(text, folder)
    config = CompareConfig(output=str(folder / "compared"), data=data, budget_minutes=minutes)
    models = compare(ENTRIES, config, lambda line: print(line, file=sys.stderr, flush=True))[
        "models"
    ]
    floor = models["ngram"]["bits_per_byte"]
    yield Row("quality", "n-gram, modified Kneser-Ney, order 5", "bits/byte", floor)
    for name, bound in WANTED.items():
        what = f"{name}, {models[name]['train_seconds'] / 60:.1f} minutes"
        yield Row(
            "quality", what, "bits/byte", models[name]["bits_per_byte"], wanted=Wanted("<", bound)
        )
        yield Row(
            "quality",
            what,
            "bits/byte",
            models[name]["bits_per_byte"],
            floor,
            "n-gram",
            Wanted("<", 1.0),
        )


def speed(repeats: int) -> Iterator[Row]:
    """The LSTM's step beside PyTorch's and Keras's."""
    sides = {name: ("lstm_side", name, "--repeats", repeats) for name in ("ours", "torch", "keras")}
    best = in_turn(
        sides, 3, "tokens_per_second", note=lambda line: print(line, file=sys.stderr, flush=True)
    )
    yield Row(
        "step",
        "LSTM 2 x 200",
        "tokens/s",
        best["ours"],
        best["torch"],
        "PyTorch nn.LSTM",
        Wanted(">=", 1.2),
    )
    yield Row("step", "LSTM 2 x 200", "tokens/s", best["ours"], best["keras"], "keras.layers.LSTM")


def main() -> int:
    """Prints the table; the exit code is 1 where a bound is not met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", required=True, help="the text; nine tenths train, one validates")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="training minutes of each network"
    )
    parser.add_argument("--output", help="folder for data and runs; a temporary one if left out")
    parser.add_argument("--json", help="file for the rows")
    parser.add_argument("--only", choices=("quality", "step"), help="one of the two parts")
    options = parser.parse_args()
    if not os.path.isfile(options.text):
        raise ConfigError(f"--text {options.text} is not a file")
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="tfscale-quality-") as temporary:
        folder = Path(options.output or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.only != "step":
            found += rows(options.text, options.minutes, folder)
        if options.only != "quality":
            found += speed(5)
    console = Console()
    show(found, console if console.is_terminal else Console(width=140))
    if options.json:
        Path(options.json).write_text(json.dumps([row.to_dict() for row in found], indent=1))
    return int(any(row.ok is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
