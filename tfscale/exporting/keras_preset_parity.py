"""The gate of presets: keras-hub loads the folder as its users do, and computes and generates.

Shapes: T tokens of a window, V vocabulary.
"""

import os

import keras
import numpy as np

from tfscale.compat import keras_hub as hub
from tfscale.errors import ExportError
from tfscale.exporting.limits import Limits, limits_of, relative_change
from tfscale.exporting.parity import GREEDY_TOKENS, float32_copy
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.tflite import DecodingNetwork
from tfscale.exporting.windows import Windows
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.runs.hub import tokenizer_of
from tfscale.text.score import Score, token_nll
from tfscale.text.tokenizers import Tokenizer


def compare_preset(
    checks: Checks,
    network: DecodingNetwork,
    tokenizer: Tokenizer,
    folder: str,
    held_out: list[int],
    document_mask: bool = False,
) -> Report:
    """Compares a preset, loaded anew, with the network that it was made from.

    Args:
        checks: receives the compared values.
        network: the network.
        tokenizer: the network's.
        folder: the preset.
        held_out: ids of held-out text.
        document_mask: each document is compared by itself, as it is scored.

    Returns:
        `tokens`, `perplexity` of `keras` and `file`, `greedy` and `sizes`, as for a .tflite file.

    Raises:
        ExportError: keras-hub does not load all weights.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        model = hub.load_causal_lm(folder)
    except UserWarning as error:
        line = str(error).strip().splitlines()[0]
        raise ExportError(f"keras-hub does not load the preset: {line}") from error
    finally:
        keras.config.set_dtype_policy(policy)
    ends = tokenizer.end_id, tokenizer.start_id, document_mask
    windows = Windows(float32_copy(network), np.asarray(held_out, np.int32), *ends)
    limits = limits_of(network, "none")
    text = tokenizer.decode(held_out)
    same = tokenizer_of(hub.tokenizer_in(model)).encode(text) == tokenizer.encode(text)
    checks.add("tokenizer_ids_equal", int(same), "==", 1)
    after = _compare_logits(checks, windows, model, limits)
    before = windows.score.perplexity
    change = relative_change(after, before)
    checks.add("perplexity_change", change, "<=", limits.perplexity_change)
    prompt, expected, received = _compare_greedy(checks, windows, model, limits)
    names = [name for name in os.listdir(folder) if name.startswith("model.weights")]
    return {
        "tokens": windows.score.tokens,
        "perplexity": {"keras": before, "file": after},
        "greedy": {
            "prompt": tokenizer.decode(prompt),
            "keras": tokenizer.decode(expected),
            "file": tokenizer.decode(received),
        },
        "sizes": {"file_bytes": sum(os.path.getsize(os.path.join(folder, name)) for name in names)},
    }


def _logits(model: keras.Model, ids: np.ndarray) -> np.ndarray:
    """Returns logits (T, V) of ids (T,)."""
    tokens = np.asarray(ids, np.int32)[None]
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    return np.asarray(model(inputs, training=False), np.float32)[0]


def _compare_logits(checks: Checks, windows: Windows, model: keras.Model, limits: Limits) -> float:
    """Compares whole windows; returns keras-hub's perplexity."""
    largest, same, nll = 0.0, 0, 0.0
    for ids, targets, expected in windows.whole():
        logits = _logits(model, ids)
        largest = max(largest, float(np.abs(logits - expected).max()))
        same += int((logits.argmax(-1) == expected.argmax(-1)).sum())
        nll += float(token_nll(logits, targets).sum())
    tokens = windows.score.tokens
    relative = largest / windows.spread
    checks.add("largest_logit_difference (of the spread)", relative, "<=", 1e-4)
    checks.add("top1_agreement", same / tokens, ">=", limits.top1_agreement)
    return Score(nll, tokens).perplexity


def _compare_greedy(
    checks: Checks, windows: Windows, model: keras.Model, limits: Limits
) -> tuple[list[int], list[int], list[int]]:
    """Completes the first window's beginning by both, keras-hub by `generate`; returns the prompt
    and both completions."""
    ids, context = windows.inputs[0].tolist(), windows.reference.config.sequence_length
    prompt = ids[: max(1, min(16, len(ids), context // 2))]
    count = max(1, min(GREEDY_TOKENS, context - len(prompt)))
    decoder = KerasDecoder(windows.reference, prefill_lengths=[])
    logits = [decoder.feed(prompt)]
    expected = [int(logits[0].argmax())]
    while len(expected) < count:
        logits.append(decoder.feed([expected[-1]]))
        expected.append(int(logits[-1].argmax()))
    model.compile(sampler="greedy")
    # So that ids go in and come out.
    model.preprocessor = None
    row = np.zeros((1, len(prompt) + count), np.int32)
    row[0, : len(prompt)] = prompt
    mask = np.arange(row.shape[1])[None] < len(prompt)
    done = model.generate({"token_ids": row, "padding_mask": mask}, stop_token_ids=None)
    received = np.asarray(done["token_ids"])[0, len(prompt) :].tolist()
    equal = next((i for i in range(count) if expected[i] != received[i]), count)
    gap = 0.0
    if equal < count:
        own = logits[equal]
        gap = float(own[expected[equal]] - own[received[equal]]) / windows.spread
    checks.add("greedy_tokens_equal (generate)", equal, "==", None)
    checks.add("greedy_gap (generate)", gap, "<=", limits.greedy_gap)
    return prompt, expected, received
