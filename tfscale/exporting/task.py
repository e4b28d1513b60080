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
from tfscale.files.folders import atomic_directory
from tfscale.files.model_folders import claim_export
from tfscale.files.paths import atomic_write, sha256_file, write_json
from tfscale.tasks.examples import Example
from tfscale.tasks.model import TaskModel
from tfscale.tasks.predictor import describe_encoder
from tfscale.tasks.sequences import SequenceEncoder
from tfscale.tasks.text_network import in_float32

COMPARED = 64
"""Examples that file and network are compared on."""
COMPARED_TEXTS = 16
"""The same where texts are written, by both."""
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
    encoder = model.encoder
    note("convert")
    model = TaskModel(model.directory, in_float32(model.network), encoder, model.config)
    if isinstance(encoder, SequenceEncoder):
        content = writing_file(model.network, encoder.source_length, config.quantize)
    else:
        content = scoring_file(model.network, encoder.sequence_length, config.quantize)
    with atomic_directory(config.output) as folder:
        path = os.path.join(folder, "model.tflite")
        with open(path, "wb") as file:
            file.write(content)
        encoder.tokenizer.save(os.path.join(folder, "tokenizer"))
        # Where the examples lay on this machine is nobody's business on the device.
        unknown = {"train": ["-"], "validation": [], "test": [], "output": "-"}
        metadata = {
            "format_version": FORMAT_VERSION,
            "family": "task",
            "format": "task",
            "file": "model.tflite",
            "sha256": sha256_file(path),
            "config": to_dict(model.config) | unknown,
            **describe_encoder(encoder),
            "end_id": encoder.tokenizer.end_id,
            "start_id": encoder.tokenizer.start_id,
            "tokenizer": "tokenizer",
            "tokenizer_digest": encoder.tokenizer.digest,
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
            readme.write(task_readme(metadata, report))
    return report


def _compare(
    model: TaskModel,
    folder: str,
    ids: np.ndarray,
    counted: Any,
    examples: list[Example],
    config: ExportConfig,
) -> dict[str, Any]:
    limits, checks = limits_of(model.network, config.quantize, converted=True), Checks()
    expected = model.logits(ids)[counted]
    texts = (
        model.predict(examples) if isinstance(model.encoder, SequenceEncoder) and examples else []
    )
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


def _examples(model: TaskModel) -> tuple[list[Example], np.ndarray, Any, str]:
    """Examples of the files that the model was validated or trained on, their ids (N, T), which
    logits count, a name.

    Where the files are gone the ids are random. The logits that count are those of the tokens of a
    text that is written, and those of the words and tokens that have a label: not of what fills the
    window up.
    """
    encoder: Any = model.encoder
    writes = isinstance(encoder, SequenceEncoder)
    count = COMPARED_TEXTS if writes else COMPARED
    for name in ("test", "validation", "train"):
        paths = getattr(model.config, name)
        if paths and all(os.path.isfile(path) for path in paths):
            try:
                examples = model.read(paths)[:count]
            except DataError:
                continue
            encoded = [encoder.encode(example) for example in examples]
            ids = np.stack([one.ids for one in encoded])
            if encoder.task == "classify":
                return examples, ids, np.s_[:], f"{name} examples"
            weights = np.stack(
                [encoder.targets(*pair)[1] for pair in zip(examples, encoded, strict=True)]
            )
            return examples, ids, weights > 0, f"{name} examples"
    size, source = (count, encoder.sequence_length), "random tokens, because the examples are gone"
    ids = (
        np.random.default_rng(0)
        .integers(0, encoder.tokenizer.vocabulary_size, size)
        .astype(np.int32)
    )
    if not writes:
        return [], ids, np.s_[:], source
    # Whole sources and targets, without an end token inside.
    end, start = (
        encoder.tokenizer.end_id,
        encoder.source_length - (encoder.architecture == "prefix"),
    )
    ids[ids == end] = (end + 1) % encoder.tokenizer.vocabulary_size
    ids[:, [0, encoder.source_length - 1, start]] = end
    ids[:, 0] = encoder.tokenizer.start_id
    first = start - encoder.first_logit
    return [], ids, np.s_[:, first : first + encoder.target_length], source
