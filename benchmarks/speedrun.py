"""Time to a loss: how soon tfscale's defaults reach what others have at the end: `make speedrun`.

    python -m benchmarks.speedrun [--text FILE] [--seeds 0 1 2] [--game NAME] [--json FILE]

Two games. `characters`: PyTorch trains nanoGPT's recipe for a CPU on the characters of a text
(`benchmarks.recipe`), 2,000 steps. `pieces`: tfscale trains a Transformer of GPT-2's parts by AdamW
at a rate of 1e-3 on the built-in corpus python-stdlib, 4 x 192, 600 steps. Each time tfscale's
defaults train a model of the same size twice: for so many steps that its loss is about the other
side's, and for as long as the other side took. Only what the other side fixes, too, is given:
layers, width, heads, context and batch.

The loss is nats per token of the whole validation split, in windows that do not overlap. `steps`
are the seconds of the training steps; `whole` counts from the start of the process to the last
step, with imports, compilation and all. All of one seed runs in turn, one process at a time.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import recipe
from benchmarks.rounds import measure
from benchmarks.table import Row, Wanted, show
from tfscale.errors import TfscaleError

GPT2_PARTS = {"positions": "learned", "normalization": "layer", "activation": "gelu"}
PIECES = {"sequence_length": 128, "hidden_dim": 192, "num_layers": 4, "num_heads": 4}
CHARACTERS = {
    "sequence_length": recipe.SEQUENCE_LENGTH,
    "hidden_dim": recipe.HIDDEN_DIM,
    "num_layers": recipe.NUM_LAYERS,
    "num_heads": recipe.NUM_HEADS,
}


@dataclass(frozen=True)
class Run:
    """What a training came to.

    Attributes:
        loss: nats per token of the validation split.
        steps: seconds of the training steps.
        whole: seconds from the start of the process to the last step.
        count: training steps.
    """

    loss: float
    steps: float
    whole: float
    count: int


@dataclass(frozen=True)
class Game:
    """A training to beat, and how much sooner its loss is to be reached.

    Attributes:
        peer: whose training it is.
        model: options of ours that the other side has, too.
        batch_size: windows of a step, of both sides.
        steps: of ours.
        sooner: how many times sooner, in training steps.
        sooner_whole: the same from the start of the process; 0 wants nothing.
    """

    peer: str
    model: Mapping[str, Any]
    batch_size: int
    steps: int
    sooner: float
    sooner_whole: float = 0.0


GAMES = {
    "characters": Game("PyTorch, nanoGPT's recipe", CHARACTERS, recipe.BATCH_SIZE, 400, 2.5, 1.8),
    "pieces": Game("GPT-2's parts, AdamW 1e-3", PIECES, 16, 180, 3.0),
}
PEER_STEPS = {"characters": recipe.STEPS, "pieces": 600}
LESS = 0.12
"""Nats per token by which our loss is to be lower after the same time."""


def ours(game: Game, data: str, seed: int, steps: int, **options: Any) -> Run:
    """Trains by tfscale's defaults, in a process of its own.

    Args:
        game: says the model's size.
        data: data folder.
        seed: of weights and data order.
        steps: to train.
        options: `model` and `train`, options besides.
    """
    train = {"steps": steps, "validate_every": steps, "global_batch_size": game.batch_size}
    given = {
        "model": {**game.model, **options.get("model", {})},
        "train": {**train, **options.get("train", {})},
        "seed": seed,
    }
    began = time.time()
    result = measure("speedrun_side", json.dumps(given), "--data", data)
    return Run(result["loss"], result["seconds"], result["ended"] - began, steps)


def theirs(name: str, data: str, folder: Path, seed: int) -> Run:
    """Trains what is to be beaten, in a process of its own."""
    steps = PEER_STEPS[name]
    if name == "pieces":
        adamw = {"optimizer": "adamw", "learning_rate": 1e-3}
        return ours(GAMES[name], data, seed, steps, model=GPT2_PARTS, train=adamw)
    tokens = folder / "characters" / "tokens.npz"
    options = ("--data", tokens, "--steps", steps, "--seed", seed)
    began = time.time()
    result = measure("torch_side", "quality", *options)
    return Run(result["loss"], result["seconds"], result["ended"] - began, steps)


def prepare(name: str, text: str, folder: Path) -> str:
    """Writes the data of a game; returns the data folder."""
    if name == "characters":
        given = ("--text", text, "--output", folder / "characters")
        measure("corpus", "characters", *given)
        return str(folder / "characters" / "data")
    from benchmarks.recipe_search import BUILT_IN, VOCABULARY_SIZE, Corpus

    return Corpus(BUILT_IN).prepare(folder, VOCABULARY_SIZE)


def play(name: str, text: str, folder: Path, seeds: list[int]) -> Iterator[Row]:
    """Plays a game; returns the rows of the table, as they are measured."""
    game, data = GAMES[name], prepare(name, text, folder)
    for seed in seeds:
        other = theirs(name, data, folder, seed)
        first = ours(game, data, seed, game.steps)
        steps = round(other.steps * first.count / first.steps)
        # Whole calls of the compiled loop.
        calls = max(1, steps // recipe.STEPS_PER_CALL)
        same = ours(game, data, seed, calls * recipe.STEPS_PER_CALL)
        what = f"{name}, seed {seed}"
        reached, lower = Wanted("<=", 1.0), Wanted("<=", 1 - LESS / other.loss)
        yield Row(
            "loss",
            f"{what}, {first.count} steps",
            "nats/token",
            first.loss,
            other.loss,
            game.peer,
            reached,
        )
        yield Row(
            "time",
            f"{what}, steps",
            "s",
            first.steps,
            other.steps,
            game.peer,
            Wanted("<=", 1 / game.sooner),
        )
        whole = Wanted("<=", 1 / game.sooner_whole) if game.sooner_whole else None
        yield Row("time", f"{what}, whole", "s", first.whole, other.whole, game.peer, whole)
        yield Row(
            "loss",
            f"{what}, {same.steps:.0f} s as they",
            "nats/token",
            same.loss,
            other.loss,
            game.peer,
            lower,
        )


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", help="text of the game characters, tinyshakespeare for instance")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--game", choices=GAMES, action="append", help="this one alone")
    parser.add_argument("--json", help="file for the figures")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Plays the games; returns the exit code: 1 if a bound is missed."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    names = options.game or list(GAMES)
    if "characters" in names and not options.text:
        parser.error("the game characters needs --text FILE (make speedrun TEXT=FILE)")
    rows = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                for row in play(name, options.text, Path(folder), options.seeds):
                    rows.append(row)
                    print(f"{row.what}: {row.ours:.4g} {row.unit}", file=sys.stderr, flush=True)
    except TfscaleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(rows, Console() if sys.stdout.isatty() else Console(width=160))
    if options.json:
        Path(options.json).write_text(json.dumps([row.to_dict() for row in rows], indent=1))
    return 1 if any(row.ok is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
