"""Takes models of real size, with random weights, from a keras-hub preset to a file on the device.

    python -m benchmarks.real_size [--shape gemma3-270m] [--folder DIR] [--steps NAME ...]

Each step is a process of its own, whose peak of resident memory and seconds of CPU are printed as a
row of a table: import, three steps of training, export as int8 and int4 in `.tflite` and
`.litertlm`, and a completion by each file. Weights are drawn by a seed; the tokenizer is trained on
a small text and filled up with made-up pieces to the true size of the vocabulary.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.real_size_preset import SHAPES, make

ROOT = Path(__file__).resolve().parent.parent
Figures = dict[str, Any]
CONTEXT = 512
"""Tokens of the imported run's context; shorter than what the models can read."""
ROWS = ("int8", "int4")
TRAINING = "train 3 steps"
TFSCALE, HERE = "tfscale", "benchmarks.real_size"


def commands(folder: Path, trained: bool = True) -> dict[str, list[str]]:
    """Returns the command of each step, in order.

    Args:
        folder: holds the preset and the text, and receives the rest.
        trained: whether what is exported is the run that was trained, and not the imported one.
    """
    run, data, tuned = folder / "run", folder / "data", folder / "tuned"
    preset, text = folder / "preset", folder / "text.txt"
    saving = "--train.steps 3 --train.global_batch_size 1 --train.remat true"
    saving += " --train.loss_chunk_tokens 16 --train.xla off"
    steps = {
        "import": [TFSCALE, "import", preset, "--output", run, "--sequence-length", CONTEXT],
        "prepare": [TFSCALE, "prepare", "--text", text, "--output", data, "--tokenizer-from", run],
        TRAINING: [TFSCALE, "train", "--data", data, "--output", tuned, "--start", run]
        + saving.split(),
    }
    source = tuned if trained else run
    for quantize in ROWS:
        for kind in ("tflite", "litertlm"):
            row, output = f"{quantize}, {kind}", folder / f"{quantize}-{kind}"
            completion = [TFSCALE, "generate", output, "--prompt", "def ", "--max-tokens", 16]
            steps[f"export {row}"] = [HERE, "--export", source, output, quantize, kind]
            steps[f"generate {row}"] = completion
    return {
        name: [sys.executable, "-m", *(str(part) for part in step)] for name, step in steps.items()
    }


def export(run: str, output: str, quantize: str, kind: str) -> None:
    """Exports a run, and prints the CPU seconds of each stage as a JSON object."""
    from tfscale.config import ExportConfig
    from tfscale.exporting.export import export_run
    from tfscale.runs.folder import load_run

    began = {"load": 0.0}

    def note(stage: str) -> None:
        began[stage] = time.process_time()

    config = ExportConfig(output=output, quantize=quantize, format=kind)
    export_run(load_run(run), config, note=note)
    ends = [*list(began.values())[1:], time.process_time()]
    seconds = {stage: end - begin for (stage, begin), end in zip(began.items(), ends, strict=True)}
    print(json.dumps(seconds))


def measure(command: list[str], log: Path) -> Figures:
    """Runs a command in a process of its own.

    Returns:
        `code`, its exit code; `peak_bytes`, the most resident memory that it had; `cpu_seconds`, of
        itself and its children; `seconds` by the clock.
    """
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "code": process.returncode,
        "peak_bytes": usage.ru_maxrss * 1024,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "seconds": time.monotonic() - started,
    }


def parameters(shape: str) -> int:
    """Returns the number of weights of a shape, counted by hand."""
    s = SHAPES[shape]
    width, heads, groups = s["hidden_dim"], s["num_query_heads"], s["num_key_value_heads"]
    attention = width * s["head_dim"] * (2 * heads + 2 * groups) + 2 * s["head_dim"]
    norms = (4 if s.get("use_post_ffw_norm") else 2) * width
    layer = attention + 3 * width * s["intermediate_dim"] + norms
    return s["vocabulary_size"] * width + s["num_layers"] * layer + width


def main() -> None:
    """Runs the steps and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=list(SHAPES), default="gemma3-270m")
    parser.add_argument("--folder", default="", help="kept, and used again; else a temporary one")
    parser.add_argument("--steps", nargs="*", default=[], help="names of steps; all if left out")
    parser.add_argument("--make", action="store_true", help="write the preset only")
    parser.add_argument("--export", nargs=4, default=[], help="run, output, recipe and format")
    parser.add_argument("--json", default="", help="file to write the figures to")
    options = parser.parse_args()
    if options.make:
        make(options.shape, Path(options.folder))
        return
    if options.export:
        export(*options.export)
        return
    with tempfile.TemporaryDirectory(prefix="tfscale-real-size-") as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = run(options.shape, folder, options.steps)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1))


def run(shape: str, folder: Path, names: list[str]) -> dict[str, Figures]:
    """Runs steps of a shape in a folder and prints a row for each.

    Raises:
        SystemExit: a step failed; the message has the end of what it wrote.
    """
    weights = 4 * parameters(shape)
    if not (folder / "text.txt").exists():
        made = measure(
            [sys.executable, "-m", HERE, "--make", "--shape", shape, "--folder", str(folder)],
            folder / "make.log",
        )
        _require(made, "make", folder / "make.log")
    known = folder / "libraries.json"
    if not known.exists():
        libraries = [sys.executable, "-c", "import tensorflow, keras, keras_hub"]
        known.write_text(json.dumps(measure(libraries, folder / "libraries.log")))
    bare = json.loads(known.read_text())
    print(f"{shape}: {weights / 4:,.0f} weights, {weights / 1e6:,.0f} MB in float32\n")
    print("| step | peak memory, MB | above the libraries, in float32 weights | CPU seconds |")
    print("|---|---|---|---|")
    print(f"| libraries | {bare['peak_bytes'] / 1e6:,.0f} | 0 | {bare['cpu_seconds']:,.0f} |")
    rows = {"libraries": bare}
    trained = not names or TRAINING in names or (folder / "tuned").exists()
    for name, command in commands(folder, trained).items():
        if names and name not in names:
            continue
        log = folder / f"{name.replace(' ', '-').replace(',', '')}.log"
        rows[name] = row = measure(command, log)
        _require(row, name, log)
        above = (row["peak_bytes"] - bare["peak_bytes"]) / weights
        stages = ""
        if name.startswith("export"):
            row["stages"] = json.loads(log.read_text(errors="replace").splitlines()[-1])
            stages = ", ".join(f"{stage} {part:,.0f}" for stage, part in row["stages"].items())
            stages = f" ({stages})"
        print(
            f"| {name} | {row['peak_bytes'] / 1e6:,.0f} | {above:.2f} |"
            f" {row['cpu_seconds']:,.0f}{stages} |",
            flush=True,
        )
    return rows


def _require(row: Figures, name: str, log: Path) -> None:
    if row["code"]:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SystemExit(f"{name} ended with exit code {row['code']:g}:\n{tail}")


if __name__ == "__main__":
    main()
