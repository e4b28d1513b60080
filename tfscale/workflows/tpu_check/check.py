"""Compiles the steps of a config for TPU chips, and finds the memory option that makes them fit."""

import dataclasses
import importlib.metadata
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tfscale.config import NetworkConfig, TrainConfig
from tfscale.errors import ConfigError, TfscaleError
from tfscale.files.json_text import JsonObject
from tfscale.training.batches import check_divisible
from tfscale.workflows.tpu_check import compiler
from tfscale.workflows.tpu_check.lowering import Lowered, lower_steps, write

MEMORY = {"v4": 32 * 2**30, "v5e": 16 * 2**30, "v5p": 95 * 2**30, "v6e": 32 * 2**30}
"""Bytes of memory per chip (docs.cloud.google.com/tpu/docs, read 2026-11-25). The compiler keeps
some for itself."""
TOPOLOGIES = ("v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2")
COMPILER_VARIABLE = "TFSCALE_TPU_COMPILER"


@dataclass(frozen=True)
class Compiled:
    """The TPU compiler's result for one step; sizes in bytes on each chip, None where it did not
    compile."""

    step: str
    compiled: bool
    error: str | None
    weights: int
    state: int
    temporaries: int | None
    flops: float | None
    float64: tuple[str, ...]
    custom_calls: tuple[str, ...]


@dataclass(frozen=True)
class ChipReport:
    """One topology: its steps, its memory, and what would make it fit."""

    topology: str
    chips: int
    rows_per_chip: int
    memory: int
    steps: tuple[Compiled, ...]
    advice: str

    @property
    def compiled(self) -> bool:
        """Whether all steps compiled."""
        return all(step.compiled for step in self.steps)


def tpu_check(
    model: NetworkConfig,
    train: TrainConfig,
    topologies: Sequence[str] = TOPOLOGIES,
    *,
    compiler_python: str | None = None,
    seconds: float = 900.0,
    note: Callable[[str], None] = lambda text: None,
) -> JsonObject:
    """Compiles the training and the evaluation step of a config with the real TPU compiler, on a
    machine without a TPU.

    Args:
        model: the architecture, with its vocabulary size.
        train: batch, precision and so on.
        topologies: chip and grid, such as "v5e:2x2"; each chip gets its share of the global batch.
        compiler_python: a Python that has jax and libtpu; by default a virtual environment that is
            made once.
        seconds: time limit of the compiler per topology.
        note: is called with a line for each step of the work.

    Returns:
        {"compiler": version, "chips": [ChipReport as a dict ...]}.

    Raises:
        ConfigError: a step uses strings or dynamic shapes, a batch cannot be cut, or the topology
            is unknown.
        TfscaleError: the compiler cannot be had.

    Example:
        model = TransformerConfig(vocabulary_size=8192)
        tpu_check(model, TrainConfig(precision="mixed_bfloat16"), ["v5e:2x2"])
    """
    if model.vocabulary_size < 1:
        raise ConfigError("tpu-check needs a vocabulary size: give --model.vocabulary_size N")
    if model.stateful:
        raise ConfigError(
            "model.stateful=True is not trained on a TPU: its state is carried on devices of one"
            " machine"
        )
    counts = {topology: _chips(topology) for topology in topologies}
    for count in counts.values():
        check_divisible(train.global_batch_size, count, train.micro_batches)
    python = compiler_python or os.environ.get(COMPILER_VARIABLE) or find_compiler(note)
    reports = []
    for topology, count in counts.items():
        note(f"lowering the steps for {topology}, {train.global_batch_size // count} rows a chip")
        steps = _compile(model, train, topology, count, python, seconds, note)
        advice = "" if all(step.compiled for step in steps) else "it does not compile"
        if any(_out_of_memory(step.error) for step in steps):
            advice = _advise(model, train, topology, count, python, seconds, note)
        report = ChipReport(
            topology,
            count,
            train.global_batch_size // count,
            MEMORY[topology.partition(":")[0]],
            tuple(steps),
            advice,
        )
        reports.append(dataclasses.asdict(report) | {"compiled": report.compiled})
    return {"compiler": compiler.REQUIREMENTS[-1].replace("==", " "), "chips": reports}


def find_compiler(note: Callable[[str], None]) -> str:
    """Returns a Python with the compiler: this one if it has the right versions, else a virtual
    environment, made if needed."""
    wanted = dict(requirement.split("==") for requirement in compiler.REQUIREMENTS)
    try:
        if all(importlib.metadata.version(name) == version for name, version in wanted.items()):
            return sys.executable
    except importlib.metadata.PackageNotFoundError:
        pass  # The usual case: jax does not belong to tfscale's own environment.
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "tfscale", f"tpu-compiler-{wanted['libtpu']}")
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(os.path.join(folder, "complete")):
        note(
            f"installing the TPU compiler ({', '.join(compiler.REQUIREMENTS)}) into {folder}, about"
            " 1 GB, once"
        )
        shutil.rmtree(folder, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", folder],
            [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                *compiler.REQUIREMENTS,
            ],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise TfscaleError(
                    f"the TPU compiler could not be installed into {folder} ({last}); give"
                    f" --compiler-python a Python that has {', '.join(compiler.REQUIREMENTS)}"
                )
        with open(os.path.join(folder, "complete"), "w", encoding="utf-8"):
            pass
    return python


def run_compiler(
    steps: Sequence[Lowered], topology: str, python: str, seconds: float
) -> list[JsonObject]:
    """Runs the compiler in its own process; a crash or a hang becomes the error of the step it was
    at."""
    with tempfile.TemporaryDirectory(prefix="tfscale-tpu-") as folder:
        paths = write(list(steps), folder)
        output, crashed = "", None
        try:
            done = subprocess.run(
                [python, compiler.__file__, topology, *paths],
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
            output = done.stdout
            if done.returncode:
                crashed = (
                    "the TPU compiler crashed (exit code"
                    f" {done.returncode}){_last_line(done.stderr)}"
                )
        except subprocess.TimeoutExpired as error:
            output = (
                (error.stdout or b"").decode()
                if isinstance(error.stdout, bytes)
                else (error.stdout or "")
            )
            crashed = f"the TPU compiler did not end within {seconds:g} s"
        except OSError as error:
            raise ConfigError(
                f"{python} cannot be started ({error.strerror}); it must be a Python"
            ) from error
    results = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if crashed and not results and "ModuleNotFoundError" in crashed:
        raise ConfigError(
            f"{python} does not have the TPU compiler: {crashed}; it needs {compiler.REQUIREMENTS}"
        )
    while len(results) < len(steps):
        results.append({"compiled": False, "error": crashed or "the TPU compiler said nothing"})
    return results


def _compile(model, train, topology, count, python, seconds, note) -> list[Compiled]:
    lowered = lower_steps(model, train, count)
    for step in lowered:
        if step.findings.dynamic:
            raise ConfigError(
                f"the {step.name} step has dynamic shapes ({', '.join(step.findings.dynamic)}),"
                " which a TPU compiles anew or slowly; keep every shape fixed"
            )
    note(f"compiling for {topology}")
    return [
        Compiled(
            step.name,
            result["compiled"],
            result["error"],
            step.weight_bytes,
            step.state_bytes if step.name == "train" else step.weight_bytes,
            result.get("temporaries"),
            result.get("flops"),
            step.findings.float64,
            step.findings.custom_calls,
        )
        for step, result in zip(
            lowered, run_compiler(lowered, topology, python, seconds), strict=True
        )
    ]


def _advise(model, train, topology, count, python, seconds, note) -> str:
    """Tries the memory options, the cheapest first, until the compiler takes the steps."""
    rows = train.global_batch_size // count
    micros = [m for m in range(2, rows + 1) if rows % m == 0 and m > train.micro_batches]
    chunked = {"loss_chunk_tokens": 1024}
    tries: list[JsonObject] = [chunked, *({"micro_batches": m, **chunked} for m in micros[:1])]
    tries += [
        {"remat": True, **chunked},
        *({"remat": True, "micro_batches": m, **chunked} for m in micros[-1:]),
    ]
    for options in tries:
        words = " ".join(f"--train.{name} {str(value).lower()}" for name, value in options.items())
        note(f"it does not fit; trying {words}")
        steps = _compile(
            model, dataclasses.replace(train, **options), topology, count, python, seconds, note
        )
        if all(step.compiled for step in steps):
            return f"{words} makes it fit"
    return "no memory option makes it fit"


def _chips(topology: str) -> int:
    chip, _, grid = topology.partition(":")
    sides = grid.split("x")
    if chip not in MEMORY or not all(side.isdigit() and int(side) for side in sides):
        raise ConfigError(
            f"unknown topology {topology!r}; expected {', '.join(MEMORY)} and a grid, such as"
            f" {', '.join(TOPOLOGIES)}"
        )
    return math.prod(map(int, sides))


def _out_of_memory(error: str | None) -> bool:
    return error is not None and ("RESOURCE_EXHAUSTED" in error or "HbmOom" in error)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return f": {lines[-1][:200]}" if lines else ""
