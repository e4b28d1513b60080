"""Does everything on a corpus that every Python installation carries: from text to a device file.

The figures of a run depend on the seed and the number of steps; only times, and the number of steps
where it is made from `minutes`, depend on the machine.
"""

import contextlib
import dataclasses
import gzip
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from tfscale.config import (
    ExportConfig,
    PrepareConfig,
    Quantization,
    SamplingConfig,
    TrainConfig,
    TransformerConfig,
)
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import steps_per_epoch
from tfscale.data.prepare import prepare
from tfscale.data.tokens import split_stream, split_text
from tfscale.device import load
from tfscale.errors import DataError, check_range
from tfscale.exporting.export import export_run
from tfscale.exporting.report import Report
from tfscale.files.folders import claim_directory
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import read_json_lines, write_json
from tfscale.runs.folder import Run, load_run
from tfscale.runs.timing import seconds_per_step, steps_within
from tfscale.runs.train import fit_to_data, train
from tfscale.terminal import print
from tfscale.text.score import Score
from tfscale.text.tokenizers import Tokenizer, load_tokenizer
from tfscale.ui.report import render_report
from tfscale.workflows.quickstart_table import table_rows

MODEL = TransformerConfig(sequence_length=128, hidden_dim=128, num_layers=4, num_heads=4)
TRAIN = TrainConfig(global_batch_size=16, log_every=20, tensorboard=False)
VOCABULARY_SIZE = 4096
TOKENIZER_SAMPLE = 2_000_000
PARITY_TOKENS = 2048
PROMPTS = (
    "def read_lines(path):\n",
    "import os\nimport sys\n\n\ndef main(",
    "class Stack:\n    def __init__(self",
)
SAMPLING = SamplingConfig(temperature=0.7, top_p=0.9)
COMPLETION_TOKENS = 60

AFTER_TRAINING_SECONDS = 110.0
"""Kept back for the validations, two exports with their proofs, and the completions; measured on
two cores."""
RESULT_FILE = "quickstart.json"


class Stages:
    """Says on stderr what is going on, and remembers how long it took."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Times the block under `name`."""
        began = time.monotonic()
        print(f"[{began - self.began:5.0f} s] {name}: {what}", file=sys.stderr, flush=True)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began


def quickstart(output: str, minutes: float = 8.0, seed: int = 0, steps: int = 0) -> JsonObject:
    """Prepares the standard library's source, trains, exports, and completes Python.

    Args:
        output: folder to write; absent, empty, or an earlier quickstart (which is replaced).
        minutes: time for all of it; training takes what the other stages do not, at least 100
            steps.
        seed: of the splits, the weights, the order of training and the completions.
        steps: optimizer steps, whatever time they take; 0 makes them from `minutes` and the speed
            of the first steps.

    Returns:
        The figures that are also written to `quickstart.json`.

    Raises:
        DataError: `output` holds something else.
        ExportError: a file does not compute what the network computes.

    Example:
        quickstart("savedmodels/quickstart", minutes=3)["validation"]["bits_per_byte"]
    """
    check_range(0 < minutes <= 1440, "minutes", minutes, "above 0 to 1440")
    check_range(steps >= 0, "steps", steps, "0 (from --minutes) or more")
    claim_directory(output, RESULT_FILE, "a quickstart")
    write_json(os.path.join(output, RESULT_FILE), {"completed": False})
    data, run_folder = os.path.join(output, "data"), os.path.join(output, "run")
    for folder in (run_folder, *(os.path.join(output, name) for name in ("float", "int8"))):
        shutil.rmtree(folder, ignore_errors=True)
    stages = Stages()

    with stages.stage("prepare", "the source of the Python standard library to token shards"):
        manifest = prepare(_corpus(data, seed))
    tokenizer = load_tokenizer(data)
    with stages.stage("baselines", "unigram model and gzip on the validation split"):
        unigram = unigram_score(data, manifest)
        compressed = gzip_bits_per_byte(documents(tokenizer, split_stream(data, "validation")))

    model_config = fit_to_data(MODEL, manifest)
    if not steps:
        with stages.stage("train", "a few steps, to see how many fit into the time"):
            seconds = seconds_per_step(data, model_config, dataclasses.replace(TRAIN, seed=seed))
        steps = steps_within(60 * minutes - stages.elapsed() - AFTER_TRAINING_SECONDS, seconds)
    with stages.stage("train", f"a Transformer for {steps:,} steps"):
        summary = train(model_config, _training(steps, seed), data=data, output=run_folder)
    if summary["interrupted"]:
        raise KeyboardInterrupt
    reports = _exports(load_run(run_folder), output, stages)
    with stages.stage("complete", "three prompts with the int8 file"):
        model = load(os.path.join(output, "int8"))
        sampling = dataclasses.replace(SAMPLING, seed=seed)
        samples = [
            (prompt, model.generate(prompt, COMPLETION_TOKENS, sampling).text) for prompt in PROMPTS
        ]

    result = {
        "completed": True,
        "seed": seed,
        "steps": steps,
        "passes_over_the_data": (
            steps / steps_per_epoch(manifest, MODEL.sequence_length, TRAIN.global_batch_size)
        ),
        "parameters": summary["parameters"],
        "training_tokens": manifest.splits["train"].tokens,
        "train_tokens_per_second": summary["tokens_per_second"],
        "input_wait_fraction": summary["input_wait_fraction"],
        "validation": summary["validation"],
        "unigram": unigram.to_dict(),
        "gzip": compressed,
        **_file_figures(run_folder, reports),
        "samples": [{"prompt": prompt, "completion": completion} for prompt, completion in samples],
        "seconds": {**stages.seconds, "total": stages.elapsed()},
    }
    render_report(
        os.path.join(output, "report.html"),
        "tfscale quickstart: a small model of Python source",
        [("Result", ("", ""), table_rows(result))],
        history=read_json_lines(os.path.join(run_folder, "history.jsonl")),
        samples=samples,
        checks=reports["int8"]["checks"],
    )
    write_json(os.path.join(output, RESULT_FILE), result)
    return {**result, "output": output}


def _corpus(data: str, seed: int) -> PrepareConfig:
    """Returns the options of the data."""
    return PrepareConfig(
        output=data,
        corpus="python-stdlib",
        vocabulary_size=VOCABULARY_SIZE,
        seed=seed,
        tokenizer_sample=TOKENIZER_SAMPLE,
        test_fraction=0.0,
    )


def _training(steps: int, seed: int) -> TrainConfig:
    """Returns the options of a training of so many steps."""
    return dataclasses.replace(
        TRAIN,
        seed=seed,
        steps=steps,
        warmup_steps=steps // 20,
        validate_every=max(100, steps // 4),
        checkpoint_every=max(100, steps // 2),
    )


def _exports(run: Run, output: str, stages: Stages) -> dict[str, Report]:
    """Writes a file with the weights as they are and an int8 file; returns their reports."""
    reports = {}
    recipes: tuple[tuple[str, Quantization], ...] = (("float", "none"), ("int8", "int8"))
    for name, quantize in recipes:
        with stages.stage(f"export {name}", "to .tflite, compared with the Keras model"):
            config = ExportConfig(
                output=os.path.join(output, name), quantize=quantize, parity_tokens=PARITY_TOKENS
            )
            reports[name] = export_run(run, config)
    return reports


def _file_figures(run_folder: str, reports: dict[str, Report]) -> JsonObject:
    """Returns sizes, perplexities and speeds of the files, and of the Keras model."""
    int8 = reports["int8"]
    return {
        "sizes": {
            "keras_bytes": os.path.getsize(os.path.join(run_folder, "model.keras")),
            **{f"{name}_bytes": report["sizes"]["file_bytes"] for name, report in reports.items()},
        },
        "perplexity_on_parity_tokens": {
            "tokens": int8["held_out"]["tokens"],
            "keras": int8["perplexity"]["keras"],
            **{name: report["perplexity"]["file"] for name, report in reports.items()},
        },
        "decode_tokens_per_second": {
            name: report["speed"]["decode_tokens_per_second"] for name, report in reports.items()
        },
    }


def unigram_score(data: str, manifest: Manifest) -> Score:
    """Returns the score of the validation split under the frequencies of the training split.

    Counts are smoothed by one, so that a token which was never seen has a probability too.
    """
    counts = np.bincount(split_stream(data, "train"), minlength=manifest.vocabulary_size) + 1.0
    nll = -np.log(counts / counts.sum())
    tokens = split_stream(data, "validation")
    text = split_text(data, manifest, "validation", load_tokenizer(data))
    return Score(float(nll[tokens].sum()), len(tokens)).of(text)


def documents(tokenizer: Tokenizer, stream: Sequence[int] | np.ndarray) -> list[bytes]:
    """Returns the UTF-8 documents of a token stream in which each ends with the end token."""
    tokens = np.asarray(stream)
    ends = np.flatnonzero(tokens == tokenizer.end_id)
    if not len(ends) or ends[-1] != len(tokens) - 1:
        raise DataError("the token stream does not close with the end token")
    return [
        tokenizer.decode(document[:-1].tolist()).encode("utf-8")
        for document in np.split(tokens, ends[:-1] + 1)
    ]


def gzip_bits_per_byte(texts: Sequence[bytes]) -> dict[str, float]:
    """Returns bits per byte of `gzip -9`: each document by itself, and all of them in one file."""
    size = sum(map(len, texts))
    each = sum(len(gzip.compress(text, compresslevel=9)) for text in texts)
    return {
        "per_document_bits_per_byte": 8 * each / size,
        "whole_bits_per_byte": 8 * len(gzip.compress(b"".join(texts), compresslevel=9)) / size,
    }
