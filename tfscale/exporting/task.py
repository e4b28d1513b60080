"""A fine-tuned task to a .tflite file, compared with its Keras network before it is kept."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tfscale import __version__
from tfscale.config import ExportConfig, to_dict
from tfscale.device import load
from tfscale.errors import ConfigError, DataError
from tfscale.exporting.limits import Checks, agreeing, limits_of, spread
from tfscale.exporting.parity import require
from tfscale.exporting.scoring import FORMAT_VERSION, Recipe, scoring_file
from tfscale.exporting.short_readme import task_readme
from tfscale.exporting.writing import writing_file
from tfscale.files.paths import (
    atomic_directory,
    atomic_write,
    claim_export,
    sha256_file,
    write_json,
)
from tfscale.tasks.examples import Example
from tfscale.tasks.model import TaskModel
from tfscale.tasks.text_network import in_float32

_EQUAL_TEXTS = {"none": 0.9, "float16": None, "int8": None}
"""Least part of equal texts. Of two tokens that are nearly as likely rounding may take the other
one, which changes all that follow; so that is told and not judged."""


def export_task(
    model: TaskModel, config: ExportConfig, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Writes the export folder of a fine-tuned task.

    Args:
        model: as `tfscale.tasks.model.load_task` gives it.
        config: output, and quantize ("none", "float16" or "int8").
        progress: is called with the name of each stage.

    Returns:
        The parity report: `passed`, `checks`, `sizes`, `compared_on`.

    Raises:
        ConfigError: another format or recipe.
        ExportError: TFLite cannot express the network, or the file computes something else; nothing
            was written.

    Example:
        export_task(load_task("task"), ExportConfig(output="export", quantize="int8"))
    """
    note = progress or (lambda stage: None)
    if config.format != "tflite" or config.quantize not in Recipe:
        raise ConfigError(
            f"a task is exported with format=tflite and quantize={', '.join(Recipe)}; received "
            f"format={config.format} and quantize={config.quantize}"
        )
    claim_export(config.output)
    task, tokenizer = model.task, model.task.tokenizer
    note("convert")
    model = TaskModel(model.directory, in_float32(model.network), task)
    make_file = writing_file if task.gives == "text" else scoring_file
    content = make_file(model.network, task.read_length, config.quantize)
    with atomic_directory(config.output) as folder:
        path = os.path.join(folder, "model.tflite")
        with open(path, "wb") as file:
            file.write(content)
        tokenizer.save(os.path.join(folder, "tokenizer"))
        # Where the examples lay on this machine is nobody's business on the device.
        unknown = {"train": ["-"], "validation": [], "test": [], "output": "-"}
        metadata = {
            "format_version": FORMAT_VERSION,
            "family": "task",
            "format": "task",
            "file": "model.tflite",
            "sha256": sha256_file(path),
            "config": to_dict(model.config) | unknown,
            **task.shape.to_dict(),
            "end_id": tokenizer.end_id,
            "start_id": tokenizer.start_id,
            "tokenizer": "tokenizer",
            "tokenizer_digest": tokenizer.digest,
            "quantize": config.quantize,
            "tfscale_version": __version__,
        }
        write_json(os.path.join(folder, "model.json"), metadata)
        note("compare with Keras")
        examples, ids, counted, source = _examples(model)
        report = _compare(model, folder, ids, counted, examples, config)
        require(report)
        report |= {
            "format": "tflite",
            "output": config.output,
            "sizes": {"file_bytes": len(content)},
            "compared_on": {"source": source, "examples": len(ids)},
        }
        write_json(os.path.join(folder, "parity.json"), report)
        with atomic_write(os.path.join(folder, "README.md"), "w") as readme:
            readme.write(task_readme(task, metadata, report))
    return report


def _compare(
    model: TaskModel,
    folder: str,
    ids: np.ndarray,
    counted: np.ndarray,
    examples: list[Example],
    config: ExportConfig,
) -> dict[str, Any]:
    limits, checks = limits_of(model.network, config.quantize, converted=True), Checks()
    expected = model.logits(ids)[counted]
    texts = model.predict(examples) if model.task.gives == "text" and examples else []
    unit = spread([expected])
    for kernels in ("xnnpack", "plain"):
        file = load(folder, threads=config.threads, xnnpack=kernels == "xnnpack")
        first = file.logits(ids)
        found = first[counted]
        relative = float(np.sqrt(np.square(found - expected).mean())) / unit
        checks.add(f"relative_logit_error ({kernels})", relative, "<=", limits.relative_logit_error)
        decisions = int(np.prod(expected.shape[:-1]))
        same = agreeing(found, expected, limits.greedy_gap * unit) / decisions
        checks.add(f"equal_decisions ({kernels})", same, ">=", limits.top1_agreement)
        checks.add(
            f"second_run_difference ({kernels})",
            float(np.abs(file.logits(ids[:1]) - first[:1]).max()),
            "==",
            0.0,
        )
        if texts:
            equal = np.mean([a == b for a, b in zip(texts, file.predict(examples), strict=True)])
            checks.add(
                f"equal_texts ({kernels})", float(equal), ">=", _EQUAL_TEXTS[config.quantize]
            )
    return {"passed": checks.passed, "quantize": config.quantize, "checks": checks.rows}


def _examples(model: TaskModel) -> tuple[list[Example], np.ndarray, np.ndarray, str]:
    """Returns examples of the files that the model was validated or trained on, their ids (N, T),
    the logits (N, P) bool that count, and a name; random ids where the files are gone.

    The logits that count are those of the tokens of a text that is written, and those of the words
    and tokens that have a label: not of what fills the window up.
    """
    task = model.task
    for name in ("test", "validation", "train"):
        paths = getattr(model.config, name)
        if paths and all(os.path.isfile(path) for path in paths):
            try:
                examples = model.read(paths)[: task.compared]
            except DataError:
                continue
            encoded = [task.encode(example) for example in examples]
            ids = np.stack([row.ids for row in encoded])
            return examples, ids, task.counted(examples, encoded), f"{name} examples"
    return [], *task.random_rows(), "random tokens, because the examples are gone"
