"""The gate of GGUF files: the file, computed from itself alone, against the network.

What the file holds is read back and computed by llama.cpp's rules in NumPy
(`tfscale.exporting.llama_cpp.computing`), so that wrong entries, a wrong order of queries and keys,
or a tensor under another name show in the logits. The tensors are compared besides, in the units of
their rounding: float32 ones must be equal bit for bit.
"""

import os

import numpy as np

from tfscale.exporting.comparison import LogitGaps, compare_choices, completed
from tfscale.exporting.limits import (
    Limits,
    limits_of,
    noise,
    products_of,
    relative_change,
)
from tfscale.exporting.llama_cpp.architectures import architecture_of
from tfscale.exporting.llama_cpp.computing import GGUFNetwork
from tfscale.exporting.llama_cpp.tensors import named_tensors
from tfscale.exporting.llama_cpp.vocabulary import vocabulary_entries
from tfscale.exporting.llama_cpp.writing import BLOCK, type_of
from tfscale.exporting.parity import float32_copy
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.windows import Windows
from tfscale.models.hub_tensor import HubTensor
from tfscale.models.recipe import recipe
from tfscale.models.transformer import TransformerLM
from tfscale.text.tokenizers import Tokenizer

_MARGIN = 3.0
"""How far above the estimate of the rounding a difference may be; see `limits`."""


def compare_gguf(
    checks: Checks,
    network: TransformerLM,
    tokenizer: Tokenizer,
    path: str,
    held_out: list[int],
    quantize: str,
    document_mask: bool = False,
) -> Report:
    """Compares a GGUF file with the network that it was made from.

    Args:
        checks: receives the compared values.
        network: the network, of an architecture that llama.cpp has.
        tokenizer: the network's.
        path: the file.
        held_out: ids of held-out text.
        quantize: the recipe.
        document_mask: each document is compared by itself, as it is scored.

    Returns:
        `tokens`, `perplexity` of `keras` and `file`, `greedy` and `sizes`, as for a .tflite file.
    """
    file = GGUFNetwork(path)
    differing = [
        key
        for key, value in vocabulary_entries(tokenizer).items()
        if not _same(file.entries.get(f"tokenizer.ggml.{key}"), value)
    ]
    checks.add("vocabulary_entries_that_differ", len(differing), "==", 0)
    _compare_tensors(checks, file, network, quantize)
    limits = gguf_limits(network, quantize)
    ends = tokenizer.end_id, tokenizer.start_id, document_mask
    windows = Windows(float32_copy(network), np.asarray(held_out, np.int32), *ends)
    # Logits that are not finite become NaN in every figure, and NaN is within no limit.
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = LogitGaps(windows, limits)
        for ids, targets, logits in windows.whole():
            gaps.add(file.logits(ids), logits, targets)
        after, before = gaps.finish(checks), windows.score.perplexity
        change = relative_change(after, before)
        checks.add("perplexity_change", change, "<=", limits.perplexity_change)
        expected = completed(windows)
        read = file.logits([*expected.prompt, *expected.tokens[:-1]])
        own = read[len(expected.prompt) - 1 :]
        chosen = compare_choices(checks, expected, own, windows.spread, limits)
    return {
        "tokens": windows.score.tokens,
        "perplexity": {"keras": before, "file": after},
        "greedy": {
            "prompt": tokenizer.decode(expected.prompt),
            "keras": tokenizer.decode(expected.tokens),
            "file": tokenizer.decode(chosen),
        },
        "sizes": {"file_bytes": os.path.getsize(path)},
    }


def gguf_limits(network: TransformerLM, quantize: str) -> Limits:
    """Returns how much a recipe may change a network in a GGUF file.

    A block of Q8_0 has 32 weights, so that its rounding is that of 32 numbers, whatever the width
    of the product; activations are not rounded here.
    """
    if not recipe(quantize).rounds:
        return limits_of(network, quantize, converted=True)
    products, _ = products_of(network)
    error = _MARGIN * noise(8, BLOCK) * products**0.5
    perplexity = recipe(quantize).perplexity_change
    return Limits(None, error, 0.98, perplexity, perplexity, 2 * error)


def _same(stored: object, value: object) -> bool:
    if isinstance(value, list) and value and isinstance(value[0], float):
        return np.array_equal(np.asarray(stored, np.float32), np.asarray(value, np.float32))
    return stored == value


def _compare_tensors(
    checks: Checks, file: GGUFNetwork, network: TransformerLM, quantize: str
) -> None:
    expected = list(named_tensors(network, architecture_of(network.config)))
    names = {tensor.name for tensor in expected}
    checks.add("tensors_missing_or_unknown", len(names ^ set(file.tensors)), "==", 0)
    worst: dict[str, float] = {}
    for tensor in expected:
        stored_as = type_of(tensor, quantize)
        error = _rounding(tensor, file.tensor(tensor.name), stored_as)
        worst[stored_as] = max(worst.get(stored_as, 0.0), error)
    for stored_as, error in sorted(worst.items()):
        exact = stored_as == "F32"
        checks.add(
            f"rounding_steps ({stored_as})", error, "==" if exact else "<=", float(not exact)
        )


def _rounding(tensor: HubTensor, stored: np.ndarray, stored_as: str) -> float:
    """Returns the largest difference of a weight, as a part of what its type may round by."""
    values = np.asarray(tensor.read(), np.float32)
    if stored.shape != values.shape:
        return float("inf")
    gap = np.abs(stored - values)
    if stored_as == "F32":
        return float(gap.max())
    if stored_as == "F16":
        # Half a step of float16: 2^-11 of the number, 2^-25 below its smallest normal one.
        return float((gap / np.maximum(np.abs(values) * 2.0**-11, 2.0**-25)).max())
    blocks, gaps = (array.reshape(-1, BLOCK) for array in (values, gap))
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    # Half a step, and what the rounding of the scale to float16 adds to up to 127 steps.
    scale = largest / 127
    step = scale / 2 + 127.5 * np.maximum(scale * 2.0**-11, 2.0**-25)
    return float((gaps / step).max())
