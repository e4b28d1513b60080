"""`make benchmark-device`: how small and fast a trained model becomes, and how fast others decode
the same weights.

    python -m benchmarks.on_device [--transformer RUN --lstm RUN] [--steps N] [--tune N] [--only
    SECTION] [--json FILE]

A Transformer of 4 x 256 and an LSTM of 256 units, 8,192 tokens each, are trained on python-stdlib
(or taken from two run folders), then: every recipe of export beside float32, int4 after
fine-tuning, half of the feed-forward width, the budget search at an eighth and a tenth of the size,
and the decode speed of ONNX Runtime, PyTorch and LiteRT-LM. Each timing is a process of its own,
one thread, in turn, the best of three rounds.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console

from benchmarks.rounds import in_turn, measure
from benchmarks.table import Row, Wanted, show
from tfscale.files.paths import write_json

RATE = "decode_tokens_per_second"
ROUNDS = 3
TOKENS = 20_000
"""Tokens of the validation split that perplexities are taken on, through the files."""


class Models:
    """The two runs, what was made of them, and how good each file is."""

    def __init__(self, options: argparse.Namespace, folder: str, note: Callable[[str], None]):
        self.options, self.folder, self.note = options, folder, note
        self.runs = {"transformer": options.transformer, "lstm": options.lstm}
        self.perplexities: dict[str, float] = {}

    def run(self, family: str) -> str:
        """The folder of the trained run."""
        if self.runs[family] is None:
            import tfscale
            from tfscale.config import LSTMConfig, TrainConfig, TransformerConfig

            data = os.path.join(self.folder, "data")
            if not os.path.exists(data):
                self.note("prepare python-stdlib")
                tfscale.prepare(
                    corpus="python-stdlib", vocabulary_size=8192, output=data, progress=False
                )
            self.note(f"train the {family}, {self.options.steps} steps")
            config = (
                TransformerConfig(hidden_dim=256)
                if family == "transformer"
                else LSTMConfig(sequence_length=64)
            )
            train = TrainConfig(
                steps=self.options.steps,
                global_batch_size=16 if family == "transformer" else 32,
                tensorboard=False,
                validation_batches=20,
                # The Transformer has its default optimizer, and that its default rate.
                learning_rate=0.0 if family == "transformer" else 3e-3,
            )
            output = os.path.join(self.folder, family)
            tfscale.train(config, train, data=data, output=output, progress=False)
            self.runs[family] = output
        return self.runs[family]

    def export(self, run: str, quantize: str, form: str = "tflite") -> str:
        """The export folder of a run and a recipe, made once."""
        output = os.path.join(self.folder, f"{os.path.basename(run)}-{quantize}-{form}")
        if not os.path.exists(output):
            self.note(f"export {os.path.basename(run)}, {quantize}, {form}")
            import tfscale

            tfscale.export(run, output=output, quantize=quantize, format=form)
        return output

    def compress(self, run: str, name: str, shrink: Any = None, **options: Any) -> str:
        """A fine-tuned run, made once."""
        output = os.path.join(self.folder, f"{os.path.basename(run)}-{name}")
        if not os.path.exists(os.path.join(output, "summary.json")):
            self.note(f"{name}, {self.options.tune} steps")
            from tfscale.compress.compress import compress_run
            from tfscale.config.compression import CompressConfig, DistillConfig

            config = CompressConfig(output=output, steps=self.options.tune, **options)
            compress_run(run, config, None, shrink, DistillConfig(weight=0.5), progress=False)
        return output

    def perplexity(self, export: str, run: str) -> float:
        """Perplexity of a file on the validation split of its run."""
        if export not in self.perplexities:
            from tfscale.data.tokens import split_stream
            from tfscale.device import load
            from tfscale.runs.folder import load_run

            tokens = split_stream(str(load_run(run).data_dir), "validation")[:TOKENS]
            self.perplexities[export] = load(export).score(tokens.tolist()).perplexity
        return self.perplexities[export]

    def rates(self, sides: dict[str, tuple[object, ...]]) -> dict[str, float]:
        """Tokens per second of each side, in turn."""
        return in_turn(sides, ROUNDS, RATE, note=self.note)


def size(export: str) -> int:
    """Bytes of the file."""
    return os.path.getsize(os.path.join(export, "model.tflite"))


def recipes(models: Models) -> Iterator[Row]:
    """Size, perplexity and speed of int8, and of int4 with and without fine-tuning, beside
    float32."""
    for family in ("transformer", "lstm"):
        run = models.run(family)
        tuned = models.compress(run, "tuned-int4", quantize="int4", learning_rate=1e-4)
        files = {
            "float32": models.export(run, "none"),
            "int8": models.export(run, "int8"),
            "int4": models.export(run, "int4"),
            "int4 tuned": models.export(tuned, "int4"),
        }
        rates = models.rates(
            {name: ("device_side", "file", "--export", path) for name, path in files.items()}
        )
        base = files["float32"]
        bounds = (
            {"int8": (0.28, 1.003), "int4 tuned": (0.19, 1.005)}
            if family == "transformer"
            else {"int8": (0.28, 1.003)}
        )
        for name in ("int8", "int4", "int4 tuned"):
            small, good = bounds.get(name, (None, None))
            yield Row(
                family,
                f"{name} file",
                "bytes",
                size(files[name]),
                size(base),
                "float32",
                small and Wanted("<=", small),
            )
            yield Row(
                family,
                f"{name} perplexity",
                "1",
                models.perplexity(files[name], run),
                models.perplexity(base, run),
                "float32",
                good and Wanted("<=", good),
            )
            fast = Wanted(">=", 2.0) if name == "int8" else None
            yield Row(
                family, f"{name} decode", "tokens/s", rates[name], rates["float32"], "float32", fast
            )


def structured(models: Models) -> Iterator[Row]:
    """Half of the feed-forward width, in float32."""
    from tfscale.config.shrinking import ShrinkConfig

    run = models.run("transformer")
    half = models.compress(run, "half", ShrinkConfig(feed_forward_dim=512))
    files = {"half": models.export(half, "none"), "whole": models.export(run, "none")}
    rates = models.rates(
        {name: ("device_side", "file", "--export", path) for name, path in files.items()}
    )
    yield Row(
        "structured",
        "half feed-forward, decode",
        "tokens/s",
        rates["half"],
        rates["whole"],
        "whole",
        Wanted(">=", 1.25),
    )
    yield Row(
        "structured",
        "half feed-forward, perplexity",
        "1",
        models.perplexity(files["half"], run),
        models.perplexity(files["whole"], run),
        "whole",
        Wanted("<=", 1.05),
    )


def search(models: Models) -> Iterator[Row]:
    """The budget search at an eighth and a tenth of the float file."""
    from tfscale.config.compression import CompressConfig, SearchConfig
    from tfscale.workflows.search import search_run

    run = models.run("transformer")
    whole = size(models.export(run, "none"))
    for part, percent in ((8, 2), (10, 5)):
        models.note(f"search: a {part}th of the size, {percent} % more perplexity")
        output = os.path.join(models.folder, f"search-{part}")
        bounds = SearchConfig(
            target_size=str(whole // part),
            max_perplexity_increase=f"{percent}%",
            candidate_steps=models.options.tune,
            evaluation_tokens=TOKENS,
        )
        found = search_run(
            run, CompressConfig(output=output, steps=4 * models.options.tune), bounds, models.note
        )
        best = found["candidates"][found["best"]]
        yield Row(
            "search",
            f"size for 1/{part}: {found['best']}",
            "bytes",
            best["bytes"],
            whole,
            "float32",
            Wanted("<=", 1 / part),
        )
        yield Row(
            "search",
            f"perplexity at 1/{part}",
            "1",
            best["perplexity"],
            found["baseline"]["perplexity"],
            "float32",
            Wanted("<=", 1 + percent / 100),
        )


def peers(models: Models) -> Iterator[Row]:
    """Decode speed of others on the same weights."""
    run = models.run("transformer")
    onnx = os.path.join(models.folder, "onnx")
    measure("device_peers", "onnx-files", "--run", run, "--output", onnx)
    ours = models.export(run, "int8")
    rates = models.rates(
        {
            "ours, int8": ("device_peers", "ours", "--export", ours),
            "ONNX Runtime, int8": (
                "device_peers",
                "onnx",
                "--file",
                os.path.join(onnx, "int8.onnx"),
            ),
            "ONNX Runtime, float32": (
                "device_peers",
                "onnx",
                "--file",
                os.path.join(onnx, "float.onnx"),
            ),
            "PyTorch, float32": ("device_peers", "torch", "--run", run),
        }
    )
    others = ("ONNX Runtime, int8", "ONNX Runtime, float32", "PyTorch, float32")
    best = max(rates[name] for name in others)
    for name in others:
        wanted = Wanted(">=", 1.2) if rates[name] == best else None
        yield Row(
            "peers", "int8 decode", "tokens/s", rates["ours, int8"], rates[name], name, wanted
        )
    bundle = models.export(run, "int8", "litertlm")
    both = [
        measure("device_peers", "bundle", "--export", bundle, "--tflite", ours)
        for _ in range(ROUNDS)
    ]
    if not all(one["same_text"] for one in both):
        raise SystemExit("LiteRT-LM wrote another text than ours")
    fastest = {name: max(one[name] for one in both) for name in ("ours", "litert_lm")}
    yield Row(
        "peers",
        "int8 decode, each by its own count",
        "tokens/s",
        fastest["ours"],
        fastest["litert_lm"],
        "LiteRT-LM",
        Wanted(">=", 0.9),
    )


SECTIONS = {"recipes": recipes, "structured": structured, "search": search, "peers": peers}


def main() -> int:
    """Runs, prints the table; 1 if a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_device", description=__doc__)
    parser.add_argument("--transformer", help="run folder to take instead of training one")
    parser.add_argument("--lstm", help="the same")
    parser.add_argument("--steps", type=int, default=3000, help="training steps of each model")
    parser.add_argument(
        "--tune", type=int, default=500, help="fine-tuning steps of each smaller one"
    )
    parser.add_argument(
        "--only", choices=SECTIONS, action="append", help="one section; may be given again"
    )
    parser.add_argument(
        "--folder", help="folder to work in, which stays; a temporary one if left out"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the rows to FILE")
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    began = time.monotonic()

    def note(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="tfscale-device-") as temporary:
        folder = options.folder or temporary
        os.makedirs(folder, exist_ok=True)
        models = Models(options, folder, note)
        rows: list[Row] = []
        for name in options.only or SECTIONS:
            rows += list(SECTIONS[name](models))
    show(rows, Console(width=max(110, Console().width)))
    if options.json:
        write_json(options.json, [row.to_dict() for row in rows])
    return 0 if all(row.ok is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
