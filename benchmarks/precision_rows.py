"""The rows of the section bfloat16: train steps in bfloat16 and float32 beside PyTorch's."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks.table import Row, Wanted

if TYPE_CHECKING:
    from benchmarks.sections import Bench

LOWER = "mixed_bfloat16"
MODELS = {
    "wide": ("4 x 512, V 4,096, T 128, B 8", 1.2),
    "gpt2": ("12 x 768, V 50,257, T 256, B 2", 1.2),
    "nanogpt": ("4 x 128, V 65, T 64, B 12", 1.0),
    "lstm": ("LSTM 2 x 200, V 4,000, T 35, B 20", 1.0),
}
"""What each model of `precision_side` is, and the wanted ratio to PyTorch's bfloat16. Float32 wants
1.05, but for the LSTM, which `make benchmark-quality` has."""


def precision_rows(bench: "Bench", compiler: bool) -> Iterator[Row]:
    """Tokens per second of each model beside the best of PyTorch's in the same precision.

    Args:
        bench: the settings.
        compiler: whether there is a C++ compiler, which `torch.compile` needs.
    """
    repeats = ("--repeats", 2 if bench.quick else 4)
    for model, (what, bound) in MODELS.items():
        for precision in ("bfloat16", "float32"):
            options = ("--precision", LOWER if precision == "bfloat16" else precision, *repeats)
            if model == "lstm":
                sides: dict[str, tuple[object, ...]] = {
                    "tfscale": ("lstm_side", "ours", *options),
                    "PyTorch, eager": ("lstm_side", "torch", *options),
                }
            else:
                torch = ("precision_side", "torch", model, *options)
                sides = {
                    "tfscale": ("precision_side", "tfscale", model, *options),
                    "PyTorch, eager": torch,
                }
                if compiler:
                    sides["PyTorch, torch.compile"] = (*torch, "--compile")
            rates = bench.best(sides)
            ours = rates.pop("tfscale")
            best = max(rates, key=rates.__getitem__)
            wanted = Wanted(">=", bound if precision == "bfloat16" else 1.05)
            yield Row(
                "bfloat16",
                f"{precision}: {what}",
                "tokens/s",
                ours,
                rates[best],
                best,
                None if (model, precision) == ("lstm", "float32") else wanted,
            )
