"""The gate of a network that reads whole windows: its file's logits beside the network's.

Shapes: T tokens of a window, V vocabulary.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfscale.config import Quantization
from tfscale.data.pipeline import text_windows
from tfscale.device.scorer import ScoringModel
from tfscale.exporting.dequantized import dequantized_folder
from tfscale.exporting.flatbuffer import operations
from tfscale.exporting.limits import (
    Limits,
    agreeing,
    float32_copy_limits,
    limits_of,
    relative_change,
)
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.rounded import rounded_in_place
from tfscale.files.description import Description
from tfscale.models.capability import capabilities
from tfscale.models.logits import difference, spread
from tfscale.models.recipe import recipe
from tfscale.text.score import Score, token_nll

if TYPE_CHECKING:
    from tfscale.exporting.scoring import WindowSource


def compare_windows(
    checks: Checks,
    source: "WindowSource",
    path: str,
    held_out: Sequence[int],
    quantize: Quantization,
) -> Report:
    """Compares a scoring file with its network, with XNNPACK's kernels and without.

    Args:
        checks: receives the compared values.
        source: what the file was made from.
        path: the file.
        held_out: ids of held-out text.
        quantize: the recipe, which decides the limits.

    Raises:
        ExportError: the runtime refuses the file.
    """
    network = source.network
    name = "pseudo_perplexity" if capabilities(network).is_cloze else "perplexity"
    inputs, targets, weights = text_windows(
        np.asarray(held_out, np.int32), source.length, source.end_id, source.start_id
    )
    counts = (weights > 0).sum(axis=1)
    tokens = int(counts.sum())
    expected = [np.asarray(network(row[None], training=False), np.float32)[0] for row in inputs]
    nll = {"keras": _nll(expected, targets, counts)}
    limits = limits_of(network, quantize, converted=True)
    description = Description(end_id=source.end_id)
    for kernels in ("xnnpack", "plain"):
        model = ScoringModel(path, None, description, 1, kernels == "xnnpack")
        logits = [model.logits(row) for row in inputs]
        again = model.logits(inputs[0])
        _check_logits(checks, kernels, logits, expected, limits)
        nll[kernels] = _nll(logits, targets, counts)
        change = relative_change(np.exp(nll[kernels] / tokens), np.exp(nll["keras"] / tokens))
        checks.add(f"{name}_change ({kernels})", float(change), "<=", limits.perplexity_change)
        repeated = float(np.abs(again - logits[0]).max())
        checks.add(f"second_run_difference ({kernels})", repeated, "==", 0.0)
    if recipe(quantize).rounds:
        # Without the rounding of what products are given, the file has the logits of the network
        # with rounded weights.
        with rounded_in_place(network, quantize):
            rounded = [
                np.asarray(network(row[None], training=False), np.float32)[0] for row in inputs
            ]
        with dequantized_folder(os.path.dirname(path)) as folder:
            copy = ScoringModel(os.path.join(folder, "model.tflite"), None, description, 1, True)
            logits = [copy.logits(row) for row in inputs]
        exactly = float32_copy_limits(network, quantize, converted=True)
        _check_logits(checks, "float32 copy", logits, rounded, exactly)
    with open(path, "rb") as file:
        content = file.read()
    report: Report = {
        "tokens": tokens,
        "sizes": {"file_bytes": len(content)},
        "vocabulary_size": expected[0].shape[-1],
        "operations": operations(content),
    }
    perplexity = {
        "keras": Score(nll["keras"], tokens).perplexity,
        "file": Score(nll["xnnpack"], tokens).perplexity,
    }
    if capabilities(network).is_cloze:
        report["pseudo_perplexity"] = perplexity
    else:
        report["perplexity"] = perplexity
    return report


def _check_logits(
    checks: Checks,
    kernels: str,
    logits: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    limits: Limits,
) -> None:
    """Compares the logits (T, V) of each window by file and network."""
    unit = spread(list(expected))
    largest = limits.max_logit_difference
    if largest is not None:
        largest *= max(1.0, unit)
    pairs = list(zip(logits, expected, strict=True))
    gap = np.stack([difference(*pair) for pair in pairs])
    checks.add(f"max_logit_difference ({kernels})", float(np.abs(gap).max()), "<=", largest)
    relative = float(np.sqrt(np.square(gap).mean())) / unit
    checks.add(f"relative_logit_error ({kernels})", relative, "<=", limits.relative_logit_error)
    near = limits.greedy_gap * unit
    same = sum(agreeing(*pair, near) for pair in pairs) / gap[..., 0].size
    checks.add(f"top1_agreement ({kernels})", same, ">=", limits.top1_agreement)


def _nll(logits: Sequence[np.ndarray], targets: np.ndarray, counts: np.ndarray) -> float:
    rows = zip(logits, targets, counts, strict=True)
    return sum(float(token_nll(row[:count], target[:count]).sum()) for row, target, count in rows)
