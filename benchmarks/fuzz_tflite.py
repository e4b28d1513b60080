"""Hostile .tflite files: one field of the flatbuffer is changed, the digest made right, and the
file is run.

    python -m benchmarks.fuzz_tflite --mutations 600

Every file is loaded and run in a forked child. What is counted: a clear error (a `TfscaleError`),
any other exception, a crash (the child is killed by a signal), a hang, the same result as the whole
file's, another result.
"""

import argparse
import contextlib
import copy
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

OUTCOMES = ("clear error", "traceback", "process crash", "hang", "same result", "other result")
HANG_SECONDS = 20.0
_NUMBERS = (-(2**31), -2, -1, 0, 1, 2, 3, 7, 50, 127, 1000, 65536, 2**31 - 1)
_FAMILIES = ("transformer", "lstm")


def rows(
    mutations: int = 600, seed: int = 1, families: tuple[str, ...] = _FAMILIES
) -> list[dict[str, Any]]:
    """Runs the mutations.

    Args:
        mutations: files in all, divided among the families.
        seed: draws the fields and their values.
        families: "transformer", "lstm" or both.

    Returns:
        For each family a row with the keys input, mutations and OUTCOMES, and `cases`: what was
            changed in files that
        did not end as they should (traceback, crash, hang).

    Example:
        rows(600)[0]["process crash"]    # 0
    """
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, so that the forked children carry no TensorFlow.
        subprocess.run(
            [sys.executable, "-m", "benchmarks.fuzz_tflite", "--make", folder, *families],
            check=True,
        )
        return [
            _fuzz(Path(folder, family), mutations // len(families), seed) for family in families
        ]


def _fuzz(folder: Path, mutations: int, seed: int) -> dict[str, Any]:
    from ai_edge_litert.tools import flatbuffer_utils

    import tfscale.device  # noqa: F401 - the children have it then

    draw = random.Random(seed)
    whole = (folder / "model.tflite").read_bytes()
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(whole))
    right = _run(folder, folder / "right.json")[1]
    counts: Counter[str] = Counter()
    cases = []
    for number in range(mutations):
        changed = folder.parent / f"{folder.name}-{number}"
        shutil.copytree(folder, changed)
        what, content = _mutate(model, draw)
        _replace(changed, content)
        outcome, answer = _run(changed, changed / "answer.json")
        if outcome == "ran":
            outcome = "same result" if answer == right else "other result"
        counts[outcome] += 1
        if outcome in ("traceback", "process crash", "hang"):
            cases.append(f"{outcome}: {what}: {answer}")
        shutil.rmtree(changed)
    return {
        "input": f"tflite structural, {folder.name}",
        "mutations": mutations,
        **{name: counts[name] for name in OUTCOMES},
        "cases": cases,
    }


def _replace(folder: Path, content: bytes) -> None:
    """Makes `content` the model of an export folder, with the digest of a file that nobody
    touched."""
    (folder / "model.tflite").write_bytes(content)
    metadata = json.loads((folder / "model.json").read_text())
    metadata["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "model.json").write_text(json.dumps(metadata))


def _mutate(model: Any, draw: random.Random) -> tuple[str, bytes]:
    """A copy of the model with one field changed: what was changed, and the file."""
    from ai_edge_litert.tools import flatbuffer_utils

    while True:
        changed = copy.deepcopy(model)
        where, change = draw.choice(list(_fields(changed, "")))
        value = change(draw)
        with contextlib.suppress(Exception):  # A value that does not fit into the field.
            return f"{where}={value!r}", bytes(
                flatbuffer_utils.convert_object_to_bytearray(changed)
            )


def _fields(value: Any, path: str) -> Iterator[tuple[str, Callable[[random.Random], Any]]]:
    """All fields under `value` with a function that changes each; buffers' contents are left as
    they are."""
    for name, inner in vars(value).items():
        where = f"{path}.{name}" if path else name
        if name in ("data", "name", "description", "metadataBuffer"):
            continue
        if isinstance(inner, bool | int | float):
            yield where, lambda draw, name=name: _set_number(value, name, draw)
        elif (
            isinstance(inner, list)
            and inner
            and all(isinstance(item, int | float) for item in inner)
        ):
            yield where, lambda draw, inner=inner: _change_list(inner, draw)
        elif isinstance(inner, list):
            for index, item in enumerate(inner):
                if hasattr(item, "__dict__"):
                    yield from _fields(item, f"{where}[{index}]")
        elif hasattr(inner, "__dict__"):
            yield from _fields(inner, where)
            yield where, lambda draw, name=name: setattr(value, name, None)


def _set_number(value: Any, name: str, draw: random.Random) -> Any:
    new = draw.choice((*_NUMBERS, draw.randrange(256)))
    setattr(value, name, new)
    return new


def _change_list(values: list[Any], draw: random.Random) -> list[Any]:
    kind = draw.choice(("replace", "replace", "drop", "append", "empty"))
    place = draw.randrange(len(values))
    if kind == "replace":
        values[place] = type(values[place])(draw.choice(_NUMBERS))
    elif kind == "drop":
        del values[place]
    elif kind == "append":
        values.append(type(values[place])(draw.choice(_NUMBERS)))
    else:
        values.clear()
    return values[:8]


def _run(folder: Path, answer: Path) -> tuple[str, Any]:
    """Loads and runs an export folder in a forked child: how that ended, and its answer or
    error."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _child(folder, answer)
        finally:
            os._exit(code)
    deadline = time.monotonic() + HANG_SECONDS
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang", None
        time.sleep(0.002)
    if os.WIFSIGNALED(status):
        return "process crash", signal.Signals(os.WTERMSIG(status)).name
    content = json.loads(answer.read_text()) if answer.exists() else None
    return {0: "ran", 2: "clear error"}.get(os.WEXITSTATUS(status), "traceback"), content


def _child(folder: Path, answer: Path) -> int:
    from tfscale.config import SamplingConfig
    from tfscale.device import load
    from tfscale.errors import TfscaleError

    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        model = load(str(folder))
        text = model.generate(
            "The quick ", max_tokens=4, sampling=SamplingConfig(temperature=0)
        ).text
        nll = round(model.score("over the lazy dog").nll, 3)
    except TfscaleError as error:
        answer.write_text(json.dumps(str(error)))
        return 2
    except Exception as error:
        answer.write_text(json.dumps(f"{type(error).__name__}: {error}"[:300]))
        return 1
    answer.write_text(json.dumps([text, nll]))
    return 0


def _make(folder: Path, families: list[str]) -> None:
    """Writes a tiny int8 export of each family, with weights that give clear answers."""
    import numpy as np

    from tfscale.config import LSTMConfig, TransformerConfig
    from tfscale.exporting.tflite import export_tflite
    from tfscale.models import build_network
    from tfscale.text.tokenizers import train_tokenizer

    size = {"vocabulary_size": 257, "sequence_length": 32, "hidden_dim": 16, "num_layers": 2}
    configs = {
        "transformer": TransformerConfig(num_heads=2, **size),
        "lstm": LSTMConfig(embedding_dim=16, **size),
    }
    tokenizer = train_tokenizer("byte", ["any"], 257)
    for family in families:
        network = build_network(configs[family], seed=3)
        draw = np.random.default_rng(3)
        network.set_weights(
            [weight + draw.normal(scale=0.2, size=weight.shape) for weight in network.get_weights()]
        )
        content = export_tflite(network, "int8", [4, 8])
        os.makedirs(folder / family)
        tokenizer.save(str(folder / family / "tokenizer"))
        metadata = {
            "format_version": 1,
            "file": "model.tflite",
            "tokenizer": "tokenizer",
            "end_id": tokenizer.end_id,
            "tokenizer_digest": tokenizer.digest,
            "model": {"sequence_length": 32},
        }
        (folder / family / "model.json").write_text(json.dumps(metadata))
        _replace(folder / family, content)


def main() -> int:
    """Prints a line for each family; 1 if there was a traceback, a crash or a hang."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_tflite", description=__doc__)
    parser.add_argument("--mutations", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--make", nargs="+", metavar=("FOLDER", "FAMILY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        _make(Path(options.make[0]), options.make[1:])
        return 0
    found = rows(options.mutations, options.seed)
    for row in found:
        print(" | ".join(str(row[name]) for name in ("input", "mutations", *OUTCOMES)))
        print(*row["cases"], sep="\n")
    return int(any(row["cases"] for row in found))


if __name__ == "__main__":
    sys.exit(main())
