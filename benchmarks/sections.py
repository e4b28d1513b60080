"""The comparisons: each section runs its sides and gives its rows."""

import importlib.util
import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import recipe
from benchmarks.precision_rows import precision_rows
from benchmarks.prepare_rows import prepare_rows
from benchmarks.reading_rows import reading_rows
from benchmarks.rounds import in_turn, measure
from benchmarks.table import Row, Wanted

RATE = "tokens_per_second"
FIT_STEPS = {"nanogpt": 100, "cnn": 400, "lstm": 100}
"""Steps of a round of each of `benchmarks.fit_models`: an epoch of some seconds."""


@dataclass(frozen=True)
class Bench:
    """The settings that the sections share.

    Attributes:
        text: the text file.
        text_sha256: its digest.
        folder: where data folders and runs are made.
        quick: fewer steps and rounds.
        note: is called with a line about what was done.
    """

    text: Path
    text_sha256: str
    folder: Path
    quick: bool
    note: Callable[[str], None]

    @property
    def rounds(self) -> int:
        """Rounds of each timed side."""
        return 2 if self.quick else 3

    def data(self, kind: str) -> Path:
        """The folder that `benchmarks.corpus` made, or makes now, of the text: "characters" or
        "pieces"."""
        folder = self.folder / kind
        if not folder.exists():
            self.note(f"preparing the text as {kind}")
            measure("corpus", kind, "--text", self.text, "--output", folder)
        return folder

    def best(self, sides: dict[str, tuple[object, ...]], key: str = RATE) -> dict[str, float]:
        """The best of the rounds of each side."""
        return in_turn(sides, self.rounds, key, note=self.note)


def training(bench: Bench) -> Iterator[Row]:
    """Tokens per second of the recipe's step."""
    folder = bench.data("characters")
    steps = ("--steps", 40, "--repeats", 3 if bench.quick else 8)
    keras_data, torch_data = ("--data", folder / "data"), ("--data", folder / "tokens.npz")
    sides: dict[str, tuple[object, ...]] = {"tfscale": ("keras_side", "ours", *keras_data, *steps)}
    if has_torch(bench):
        sides["PyTorch, eager"] = ("torch_side", "speed", *torch_data, *steps)
        if shutil.which("g++") or shutil.which("clang++"):
            sides["PyTorch, torch.compile"] = (
                "torch_side",
                "speed",
                "--compile",
                *torch_data,
                *steps,
            )
        else:
            bench.note("torch.compile is left out: it needs a C++ compiler")
    sides["Keras fit, XLA"] = ("keras_side", "stock", *keras_data, *steps)
    sides["Keras fit, XLA, 20 steps per execution"] = (
        "keras_side",
        "stock",
        "--steps-per-execution",
        20,
        *keras_data,
        *steps,
    )
    rates = bench.best(sides)
    ours = rates.pop("tfscale")
    for name, rate in rates.items():
        yield Row(
            "training",
            "4 x 128, T 64, B 12",
            "tokens/s",
            ours,
            rate,
            name,
            Wanted(">=", 1.4 if name.startswith("PyTorch") else 1.0),
        )


def bfloat16(bench: Bench) -> Iterator[Row]:
    """Tokens per second in bfloat16 and float32."""
    if has_torch(bench):
        compiler = shutil.which("g++") or shutil.which("clang++")
        yield from precision_rows(bench, compiler is not None)


def fit(bench: Bench) -> Iterator[Row]:
    """Steps per second of `tfscale.Model` beside the better of stock Keras with and without XLA.

    All sides of a row run in turn in one process; the ratio is the median of the rounds' ratios.
    """
    for name, steps in FIT_STEPS.items():
        for task, per_execution in (("fit", 1), ("fit", 20), ("evaluate", 20)):
            options = (name, "--task", task, "--steps-per-execution", per_execution)
            rounds = ("--steps", 20, "--rounds", 2) if bench.quick else ("--steps", steps)
            result = measure("fit_side", *options, *rounds)
            rates = result["rates"]
            medians = {side: statistics.median(values) for side, values in rates.items()}
            listed = ", ".join(f"{side} {value:,.1f}" for side, value in medians.items())
            what = f"{result['what']}, {task}, {per_execution} a call"
            bench.note(f"{what}: {listed} steps/s")
            stock = max(
                (side for side in rates if side.startswith("Keras")), key=medians.__getitem__
            )
            for ours in (side for side in rates if side.startswith("tfscale")):
                yield Row(
                    "fit",
                    f"{ours.removeprefix('tfscale.')}: {what}",
                    "steps/s",
                    medians[ours],
                    medians[stock],
                    stock,
                    Wanted(">=", 1.0) if task == "fit" else None,
                    tuple(a / b for a, b in zip(rates[ours], rates[stock], strict=True)),
                )


def quality(bench: Bench) -> Iterator[Row]:
    """Validation loss after the recipe's steps."""
    folder = bench.data("characters")
    steps = ("--steps", 200 if bench.quick else recipe.STEPS)
    loss = measure("keras_side", "run", "--data", folder / "data", *steps)["loss"]
    what = f"validation loss after {steps[1]:,} steps"
    bench.note(f"{what}: tfscale {loss:.4f}")
    if has_torch(bench):
        for settings, name, wanted in (
            ("nanogpt", "nanoGPT's settings", Wanted("<", 1.0)),
            ("ours", "our settings", None),
        ):
            peer = (
                "torch_side",
                "quality",
                "--data",
                folder / "tokens.npz",
                "--settings",
                settings,
                *steps,
            )
            yield Row(
                "quality",
                what,
                "nats/character",
                loss,
                measure(*peer)["loss"],
                f"PyTorch, {name}",
                wanted,
            )
    if bench.text_sha256 == recipe.TINYSHAKESPEARE_SHA256 and not bench.quick:
        yield Row(
            "quality",
            what,
            "nats/character",
            loss,
            recipe.TINYSHAKESPEARE_LOSS,
            "an earlier run of nanoGPT's recipe",
            Wanted("<", 1.0),
        )


def waiting(bench: Bench) -> Iterator[Row]:
    """Share of the time of a run's steps in which they waited for data."""
    steps = 200 if bench.quick else 1000
    result = measure(
        "keras_side", "run", "--data", bench.data("characters") / "data", "--steps", steps
    )
    yield Row(
        "input",
        f"share of {steps:,} steps' time spent waiting",
        "1",
        result["input_wait_fraction"],
        wanted=Wanted("<", 0.02),
    )


def device(bench: Bench) -> Iterator[Row]:
    """Size, perplexity and speed of the files of a Transformer and an LSTM."""
    data = bench.data("pieces") / "data"
    steps, tokens = (20, 512) if bench.quick else (150, 4096)
    for family, what in (("transformer", "Transformer 4 x 256"), ("lstm", "LSTM 256")):
        folder = bench.folder / family
        bench.note(f"training and exporting the {what}, {steps} steps")
        sizes = measure(
            "device_side", "export", family, "--data", data, "--steps", steps, "--output", folder
        )
        yield Row(
            "device",
            f"{what}: int8 file",
            "bytes",
            sizes["int8"],
            sizes["none"],
            "float32 file",
            Wanted("<=", 0.30),
        )
        perplexity = {
            name: measure(
                "device_side",
                "score",
                "--export",
                folder / name,
                "--tokens",
                folder / "tokens.npy",
                "--count",
                tokens,
            )["perplexity"]
            for name in ("none", "int8")
        }
        yield Row(
            "device",
            f"{what}: int8 perplexity on {tokens:,} held-out tokens",
            "1",
            perplexity["int8"],
            perplexity["none"],
            "float32 file",
            Wanted("+-", 0.01),
        )
        rates = bench.best(
            {
                "float32 file": ("device_side", "file", "--export", folder / "none"),
                "int8 file": ("device_side", "file", "--export", folder / "int8"),
                "tf.function": ("device_side", "keras", "--run", folder / "run"),
            },
            "decode_tokens_per_second",
        )
        for name in ("float32 file", "int8 file"):
            yield Row(
                "device",
                f"{what}: decode, {name}, 1 thread",
                "tokens/s",
                rates[name],
                rates["tf.function"],
                "tf.function with a cache",
                Wanted(">=", 2.0),
            )


SECTIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "training": training,
    "bfloat16": bfloat16,
    "fit": fit,
    "quality": quality,
    "input": waiting,
    "reading": reading_rows,
    "prepare": prepare_rows,
    "device": device,
}


def has_torch(bench: Bench) -> bool:
    """Returns whether PyTorch is installed; notes it if it is not."""
    if importlib.util.find_spec("torch") is not None:
        return True
    bench.note("PyTorch is left out: it is not installed (pip install 'tfscale[benchmark]')")
    return False
