"""The gate of a model of somebody's own: its file beside the Keras model, on all samples.

How far rounding moves a value is known for the sums that a model ends in (`limits`): relative to
how far they are apart. Probabilities are therefore compared by their logarithms, from which the
sums follow, and other values in units of how far they move from row to row. Probabilities below
1e-4 count as 1e-4, and logits are in units of at least 0.05: what is nearer is undecided anyway.

Shapes: N rows of the samples, C classes.
"""

import os
from typing import TYPE_CHECKING

import numpy as np

from tfscale.device import load
from tfscale.exporting.dequantized import dequantized_folder
from tfscale.exporting.flatbuffer import operations
from tfscale.exporting.limits import (
    Limits,
    agreeing,
    float32_copy_limits,
    keeps_weights,
    limits_of,
)
from tfscale.exporting.prediction_outputs import Output
from tfscale.exporting.report import Checks, Quality, Report
from tfscale.exporting.rounded import rounded_in_place
from tfscale.exporting.source import Export, Source
from tfscale.models.recipe import recipe
from tfscale.models.weight_formats import stored_bytes

if TYPE_CHECKING:
    from tfscale.exporting.prediction import PredictionSource

_LEAST_PROBABILITY = 1e-4
_LEAST_LOGITS = 0.05
"""Spread of logits below which they do not decide anything."""
_LEAST_VARIATION = 0.01
"""Share of the size of values; smaller differences between rows are not told apart."""


def compare_predictions(
    checks: Checks, source: "PredictionSource", export: Export[Source]
) -> Report:
    """Compares a file with its network, with XNNPACK's kernels and without; where its weights
    are rounded, by its float32 copy, too.

    Args:
        checks: receives the compared values.
        source: what the file was made of, with the network's outputs.
        export: its folder holds the file and model.json.

    Returns:
        `sizes`, `operations`, and `quality` where targets were given.

    Raises:
        ExportError: the runtime refuses the file.
    """
    config = export.config
    limits = limits_of(source.network, config.quantize, converted=True)
    exact = keeps_weights(config.quantize)
    quality: dict[str, Quality] = {}
    for kernels in ("xnnpack", "plain"):
        model = load(export.folder, threads=config.threads, xnnpack=kernels == "xnnpack")
        arrays = source.samples.arrays
        found = model.predict(arrays)
        again = model.predict({name: array[: source.batch] for name, array in arrays.items()})
        for output in source.outputs:
            name = output.tensor.name
            values = found[name]
            label = kernels if len(source.outputs) == 1 else f"{name}, {kernels}"
            _compare(checks, label, output, values, limits, exact)
            repeated = float(np.abs(_numbers(again[name]) - _numbers(values[: source.batch])).max())
            checks.add(f"second_run_difference ({label})", repeated, "==", 0.0)
            if output.targets is not None and kernels == "xnnpack":
                quality[name] = _quality(checks, label, output, values, limits)
    if recipe(config.quantize).rounds:
        _compare_float32_copy(checks, source, export)
    with open(export.path("model.tflite"), "rb") as file:
        content = file.read()
    report: Report = {
        "sizes": {
            "file_bytes": os.path.getsize(export.path("model.tflite")),
            "float32_weight_bytes": stored_bytes(source.network, "none"),
        },
        "operations": operations(content),
        "compared_on": {"source": source.samples.origin, "examples": source.samples.count},
    }
    if quality:
        report["quality"] = quality
    return report


def _compare_float32_copy(
    checks: Checks, source: "PredictionSource", export: Export[Source]
) -> None:
    """Compares the numbers and operations of a file of rounded weights with the network that has
    such weights, without the rounding of what products are given."""
    quantize = export.config.quantize
    limits = float32_copy_limits(source.network, quantize, converted=True)
    with rounded_in_place(source.network, quantize):
        rounded = source.computed()
    with dequantized_folder(export.folder) as folder:
        found = load(folder, threads=export.config.threads).predict(source.samples.arrays)
    for output in rounded:
        name = output.tensor.name
        label = "float32 copy" if len(rounded) == 1 else f"{name}, float32 copy"
        _compare(checks, label, output, found[name], limits, exact=True)


def _compare(
    checks: Checks, label: str, output: Output, values: np.ndarray, limits: Limits, exact: bool
) -> None:
    """Compares one output (N, ...) by file and network.

    Args:
        checks: receives the compared values.
        label: says which, behind the name of each check.
        output: what the network gives.
        values: what the file gives.
        limits: the recipe's.
        exact: whether the file has the weights as they are.
    """
    if output.is_exact:
        equal = float((values == output.values).mean())
        checks.add(f"equal_values ({label})", equal, ">=", limits.top1_agreement)
        return
    plain = np.abs(_numbers(values) - _numbers(output.values))
    most = limits.max_logit_difference
    if most is not None:
        most *= max(1.0, _unit(output, _numbers(output.values)))
    checks.add(f"max_difference ({label})", float(plain.max()), "<=", most)
    # The same arithmetic in another order moves the values themselves; rounding moves the sums.
    sums = _numbers if exact else _sums
    expected, received = sums(output.values, output), sums(values, output)
    unit = _unit(output, expected)
    relative = float(np.sqrt(np.square(received - expected).mean())) / unit
    checks.add(f"relative_error ({label})", relative, "<=", limits.relative_logit_error)
    gap = limits.greedy_gap * unit
    if output.has_classes:
        same = agreeing(received, expected, gap) / expected[..., 0].size
        checks.add(f"equal_decisions ({label})", same, ">=", limits.top1_agreement)
    elif output.has_yes_and_no:
        middle = 0.5 if exact and output.tensor.gives == "probability" else 0.0
        equal = (received > middle) == (expected > middle)
        same = float((equal | (np.abs(expected - middle) <= gap)).mean())
        checks.add(f"equal_decisions ({label})", same, ">=", limits.top1_agreement)


def _numbers(values: np.ndarray, output: Output | None = None) -> np.ndarray:
    return np.asarray(values, np.float64)


def _sums(values: np.ndarray, output: Output) -> np.ndarray:
    """Returns the sums (N, ...) that values come from, as far as rounding moves them alike."""
    values = _numbers(values)
    if output.tensor.gives == "probabilities":
        return np.log(np.maximum(values, _LEAST_PROBABILITY))
    if output.tensor.gives == "probability":
        inside = np.clip(values, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
        return np.log(inside) - np.log1p(-inside)
    return values


def _unit(output: Output, values: np.ndarray) -> float:
    """Returns how far apart the values of an output are."""
    if output.has_classes:
        apart = values - values.mean(axis=-1, keepdims=True)
        return max(_root_mean_square(apart), _LEAST_LOGITS)
    if output.has_yes_and_no:
        return max(_root_mean_square(values), _LEAST_LOGITS)
    moved = _root_mean_square(values - values.mean(axis=0, keepdims=True))
    return max(moved, _LEAST_VARIATION * _root_mean_square(values), 1e-12)


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _quality(
    checks: Checks, label: str, output: Output, values: np.ndarray, limits: Limits
) -> Quality:
    """Compares how right network and file are; returns both figures."""
    assert output.targets is not None
    before, after = (_right(output, numbers) for numbers in (output.values, values))
    if not (output.has_classes or output.has_yes_and_no or output.is_exact):
        return {"mean_squared_error": {"keras": before, "file": after}}
    # A single row that is decided otherwise may be a near tie.
    most = 1 - limits.top1_agreement + 1 / len(values)
    checks.add(f"accuracy_change ({label})", abs(after - before), "<=", most)
    return {"accuracy": {"keras": before, "file": after}}


def _right(output: Output, values: np.ndarray) -> float:
    """Returns the share of right decisions, or the mean squared error of other values."""
    assert output.targets is not None
    targets = output.targets
    if output.has_classes:
        counted = targets >= 0  # A negative target, such as -100, counts nothing.
        return float((values.argmax(-1) == targets)[counted].mean())
    if output.has_yes_and_no:
        middle = 0.5 if output.tensor.gives == "probability" else 0.0
        return float(((values > middle) == (targets > 0.5)).mean())
    if output.is_exact:
        return float((values == targets).mean())
    return float(np.square(_numbers(values) - targets).mean())
