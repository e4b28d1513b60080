"""An n-gram run to a compact file for the device, or to an ARPA file for other programs."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tfscale.config import ExportConfig
from tfscale.data.tokens import first_tokens
from tfscale.device import load
from tfscale.device.ngram import NGramDeviceModel
from tfscale.errors import ConfigError
from tfscale.exporting.limits import PERPLEXITY_CHANGE, Checks
from tfscale.exporting.parity import require
from tfscale.exporting.short_readme import ngram_readme
from tfscale.files.folders import atomic_directory
from tfscale.files.model_folders import claim_export, run_data
from tfscale.files.paths import atomic_write, write_json
from tfscale.ngram import NGramModel, read_arpa, write_arpa
from tfscale.ngram.files import MODEL_FILE, describe, write_model

ARPA_FILE = "model.arpa"


def export_ngram(
    model: NGramDeviceModel, config: ExportConfig, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Writes the export folder of an n-gram run, after the file was read back and compared.

    Args:
        model: the run, as `tfscale.device.load(RUN_DIR)` gives it.
        config: output, format ("ngram" or "arpa"), and quantize ("none", or "int8": at most 256
            probabilities per order).
        progress: is called with the name of each stage.

    Returns:
        The parity report: `passed`, `checks`, `perplexity` of `model` and `file`, `sizes`,
            `held_out`.

    Raises:
        ConfigError: another format or recipe.
        ExportError: the file fails a check; nothing was written.

    Example:
        export_ngram(tfscale.device.load("run"), ExportConfig(output="export", format="ngram", quantize="int8"))
    """
    note = progress or (lambda stage: None)
    if config.format not in ("ngram", "arpa"):
        raise ConfigError(
            f"format={config.format!r} is for networks; give --format ngram or arpa for an n-gram"
            " model"
        )
    if config.quantize not in ("none", "int8") or (
        config.format == "arpa" and config.quantize != "none"
    ):
        what = "an ARPA file" if config.format == "arpa" else "an n-gram model"
        allowed = "none" if config.format == "arpa" else "none or int8"
        raise ConfigError(f"quantize={config.quantize!r} is not for {what}; expected {allowed}")
    claim_export(config.output)
    held_out, source = _held_out(model, config.parity_tokens)
    with atomic_directory(config.output) as folder:
        model.tokenizer.save(os.path.join(folder, "tokenizer"))
        written = model.ngrams.quantized() if config.quantize == "int8" else model.ngrams
        path = os.path.join(folder, ARPA_FILE if config.format == "arpa" else MODEL_FILE)
        note("write")
        if config.format == "arpa":
            write_arpa(written, model.tokenizer, path)
            metadata = describe(written, model.tokenizer, path, "none") | {
                "file": ARPA_FILE,
                "format": "arpa",
            }
            read: NGramModel = read_arpa(path, model.tokenizer)
        else:
            write_model(written, path)
            metadata = describe(written, model.tokenizer, path, config.quantize)
        write_json(os.path.join(folder, "model.json"), metadata)
        if config.format == "ngram":
            read = load(folder).ngrams
        note("compare")
        report = _compare(model.ngrams, written, read, held_out, config)
        require(report)
        report |= {
            "format": config.format,
            "output": config.output,
            "sizes": {"file_bytes": os.path.getsize(path), "ngrams": written.sizes},
            "held_out": {"source": source, "tokens": len(held_out)},
        }
        write_json(os.path.join(folder, "parity.json"), report)
        with atomic_write(os.path.join(folder, "README.md"), "w") as file:
            file.write(ngram_readme(metadata, report))
    return report


def _compare(
    model: NGramModel,
    written: NGramModel,
    read: NGramModel,
    held_out: np.ndarray,
    config: ExportConfig,
) -> dict[str, Any]:
    checks = Checks()
    before, after = model.score(held_out), read.score(held_out)
    # ARPA files have 7 digits after the point.
    limit = 1e-5 if config.format == "arpa" else 0.0
    gap = np.abs(read.log_probabilities(held_out) - written.log_probabilities(held_out)).max()
    checks.add("log_probability_difference", float(gap), "<=", limit)
    change = abs(after.perplexity / before.perplexity - 1)
    checks.add("perplexity_change", change, "<=", PERPLEXITY_CHANGE[config.quantize])
    # Rounded probabilities of a context no longer add up to 1 exactly.
    contexts = [
        held_out[max(0, at - read.order) : at + 1]
        for at in range(0, len(held_out), max(1, len(held_out) // 16))
    ]
    sums = [
        float(np.exp(read.next_log_probabilities(context).astype(np.float64)).sum())
        for context in contexts
    ]
    allowed = 0.05 if config.quantize == "int8" else 1e-4
    checks.add("sum_of_probabilities_from_1", max(abs(total - 1) for total in sums), "<=", allowed)
    return {
        "passed": checks.passed,
        "quantize": config.quantize,
        "checks": checks.rows,
        "perplexity": {"model": before.perplexity, "file": after.perplexity},
    }


def _held_out(model: NGramDeviceModel, count: int) -> tuple[np.ndarray, str]:
    """Tokens of the validation or test split where the data is there, else drawn by the model
    itself."""
    found, source = first_tokens(
        run_data(os.path.dirname(model.path)), model.tokenizer.digest, count
    )
    if found is not None:
        return found, source
    rng = np.random.default_rng(0)
    tokens = [model.tokenizer.end_id]
    while len(tokens) <= count:
        weights = np.exp(model.ngrams.next_log_probabilities(tokens).astype(np.float64))
        tokens.append(int(rng.choice(len(weights), p=weights / weights.sum())))
    return np.array(tokens[1:]), f"drawn by the model, because {source}"
