"""Learning rates tried on several texts and seeds, to choose the defaults of `train` and of
`finetune`.

    python -m benchmarks.defaults train --text FILE --family lstm --rates 1e-3 3e-3 5e-3 1e-2
    python -m benchmarks.defaults finetune --text FILE --rates 1e-4 1e-3 [--freeze] [--examples 60]

Each is tried on FILE and on the beginnings of two built-in texts, the sources and the docstrings of
Python's standard library. `train` shows the perplexity of each text's last tenth. `finetune` trains
a Transformer on each text, then classifies pieces of it by which of the text's two commonest words
they hold, and shows the accuracy on other pieces. Cells are the mean over the seeds and, after +-,
half of the range.
"""

import argparse
import collections
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.corpus import BUILT_IN_CHARACTERS, cut, read_text, write
from tfscale.config import PrepareConfig, TrainConfig, TransformerConfig
from tfscale.config.models import network_families
from tfscale.config.tasks import TaskConfig
from tfscale.text.builtin import builtin_corpus

VOCABULARY = 2048
SEQUENCE_LENGTH = 64
TEST_EXAMPLES = 200


def texts(path: str) -> dict[str, str]:
    """The three texts by their names."""
    sources, size = [], 0
    for file in builtin_corpus("python-stdlib"):
        assert file.text is not None
        sources.append(file.text())
        size += len(sources[-1])
        if size >= BUILT_IN_CHARACTERS:
            break
    code = "".join(sources)[:BUILT_IN_CHARACTERS]
    return {Path(path).stem: read_text(path), "python-stdlib": code, "python-docs": read_text(None)}


def prepare(text: str, folder: Path) -> str:
    """Writes the text as shards, its last tenth as the validation split; returns the data
    folder."""
    from tfscale.data.prepare import prepare as prepare_text

    folder.mkdir(parents=True, exist_ok=True)
    for name, part in zip(("train", "validation"), cut(text), strict=True):
        write(folder / f"{name}.txt", part)
    data = folder / "data"
    if not data.exists():
        options = PrepareConfig(
            output=str(data),
            text=[str(folder / "train.txt")],
            validation_text=[str(folder / "validation.txt")],
            test_fraction=0.0,
            vocabulary_size=VOCABULARY,
        )
        prepare_text(options, progress=False)
    return str(data)


def trained(data: str, output: Path, model: Any, config: TrainConfig) -> dict[str, Any]:
    """The summary of a run, which is trained unless it is there."""
    import keras

    from tfscale.runs.train import train

    if (output / "summary.json").exists():
        return json.loads((output / "summary.json").read_text())
    keras.backend.clear_session()
    return train(model, config, data=data, output=str(output), progress=False)


def perplexity(
    data: str, folder: Path, options: argparse.Namespace, rate: float, seed: int
) -> float:
    """Validation perplexity of a training with this learning rate."""
    config = TrainConfig(
        steps=options.steps,
        global_batch_size=options.rows,
        learning_rate=rate,
        validate_every=50,
        checkpoint_every=options.steps,
        tensorboard=False,
        seed=seed,
    )
    model = network_families()[options.family](sequence_length=SEQUENCE_LENGTH)
    output = folder / f"{options.family}-{rate:g}-{options.steps}x{options.rows}-{seed}"
    return float(trained(data, output, model, config)["validation"]["perplexity"])


def pieces(text: str, count: int, seed: int) -> list[dict[str, str]]:
    """Pieces of 160 characters that hold one of the text's two commonest words of four letters or
    more: the label."""
    words = [
        word
        for word, _ in collections.Counter(re.findall(r"[a-z]{4,}", text.lower())).most_common(2)
    ]
    found: dict[str, list[str]] = {word: [] for word in words}
    for at in range(0, len(text), 160):
        piece = " ".join(text[at : at + 160].split())
        held = [word for word in words if word in re.findall("[a-z]+", piece.lower())]
        if len(held) == 1:
            found[held[0]].append(piece)
    rng = np.random.default_rng(seed)
    rows = [
        {"text": found[word][at], "label": word}
        for word in words
        for at in rng.choice(len(found[word]), count // 2, replace=False)
    ]
    return [rows[at] for at in rng.permutation(len(rows))]


def accuracy(data: str, folder: Path, options: argparse.Namespace, rate: float, seed: int) -> float:
    """Accuracy on the test examples after a fine-tuning with this learning rate."""
    import keras

    from tfscale.tasks.finetune import finetune

    run = folder / "start"
    start = TrainConfig(
        steps=options.steps,
        global_batch_size=options.rows,
        validate_every=options.steps,
        checkpoint_every=options.steps,
        tensorboard=False,
    )
    trained(data, run, TransformerConfig(sequence_length=SEQUENCE_LENGTH, num_layers=2), start)
    rows = pieces((folder / "train.txt").read_text(), options.examples + TEST_EXAMPLES, seed)
    files = {}
    for name, part in (("train", rows[TEST_EXAMPLES:]), ("test", rows[:TEST_EXAMPLES])):
        files[name] = folder / f"{name}-{options.examples}-{seed}.jsonl"
        files[name].write_text("".join(f"{json.dumps(row)}\n" for row in part))
    keras.backend.clear_session()
    task = TaskConfig(
        task="classify",
        output=str(folder / "task"),
        train=[str(files["train"])],
        test=[str(files["test"])],
        learning_rate=rate,
        freeze=options.freeze,
        lora_rank=options.lora_rank,
        seed=seed,
    )
    return float(finetune(str(run), task)["test"]["accuracy"])


def main() -> None:
    """Tries all rates and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("train", "finetune"))
    parser.add_argument("--text", required=True, help="a text of about a megabyte")
    parser.add_argument(
        "--rates", type=float, nargs="+", required=True, help="learning rates to try"
    )
    parser.add_argument(
        "--family", default="lstm", choices=sorted(network_families()), help="model of train"
    )
    parser.add_argument("--freeze", action="store_true", help="finetune: the head alone")
    parser.add_argument("--lora-rank", type=int, default=0, help="finetune: low-rank additions")
    parser.add_argument("--examples", type=int, default=60, help="finetune: labelled examples")
    parser.add_argument(
        "--steps", type=int, default=250, help="optimizer steps of train, or of finetune's start"
    )
    parser.add_argument("--rows", type=int, default=8, help="windows of 64 tokens a step")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", help="folder for data and runs, in which a second call goes on")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    measure: Callable[..., float] = perplexity if options.kind == "train" else accuracy
    found: dict[float, dict[str, list[float]]] = {rate: {} for rate in options.rates}
    with tempfile.TemporaryDirectory(prefix="tfscale-defaults-") as temporary:
        for name, text in texts(options.text).items():
            folder = Path(options.output or temporary) / name
            data = prepare(text, folder)
            for rate in options.rates:
                found[rate][name] = [
                    measure(data, folder, options, rate, seed) for seed in range(options.seeds)
                ]
                print(f"{name}, {rate:g}: {found[rate][name]}", file=sys.stderr, flush=True)
    title = (
        f"{options.kind}:"
        f" {options.family if options.kind == 'train' else f'{options.examples} examples'}"
    )
    table = Table("learning rate", *next(iter(found.values())), title=title)
    for rate, columns in found.items():
        cells = [
            f"{np.mean(values):.4g} +- {np.ptp(values) / 2:.2g}" for values in columns.values()
        ]
        table.add_row(f"{rate:g}", *cells)
    Console(width=120).print(table)
    if options.json:
        Path(options.json).write_text(
            json.dumps({f"{rate:g}": columns for rate, columns in found.items()}, indent=1)
        )


if __name__ == "__main__":
    main()
