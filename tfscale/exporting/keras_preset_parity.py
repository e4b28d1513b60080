"""The gate of presets: keras-hub loads the folder as its users do, and computes and generates.

Shapes: T tokens of a window, V vocabulary.
"""

import os

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat import keras_hub as hub
from tfscale.errors import ExportError
from tfscale.exporting.comparison import LogitGaps, compare_completion, completed
from tfscale.exporting.limits import limits_of, relative_change
from tfscale.exporting.parity import float32_copy
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.tflite import DecodingNetwork
from tfscale.exporting.windows import Windows
from tfscale.runs.hub import tokenizer_of
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
    for found in tokenizer.found_texts():
        # keras-hub finds these in texts too, but does not say which are no special tokens.
        text = text.replace(found, " ")
    same = tokenizer_of(hub.tokenizer_in(model)).encode(text) == tokenizer.encode(text)
    checks.add("tokenizer_ids_equal", int(same), "==", 1)
    gaps = LogitGaps(windows, limits)
    for ids, targets, logits in windows.whole():
        gaps.add(_logits(model, ids), logits, targets)
    after, before = gaps.finish(checks), windows.score.perplexity
    change = relative_change(after, before)
    checks.add("perplexity_change", change, "<=", limits.perplexity_change)
    expected = completed(windows)
    received = _generated(model, expected.prompt, len(expected.tokens))
    compare_completion(checks, expected, received, windows.spread, limits, "generate")
    names = [name for name in os.listdir(folder) if name.startswith("model.weights")]
    return {
        "tokens": windows.score.tokens,
        "perplexity": {"keras": before, "file": after},
        "greedy": {
            "prompt": tokenizer.decode(expected.prompt),
            "keras": tokenizer.decode(expected.tokens),
            "file": tokenizer.decode(received),
        },
        "sizes": {"file_bytes": sum(os.path.getsize(os.path.join(folder, name)) for name in names)},
    }


def _logits(model: keras.Model, ids: np.ndarray) -> np.ndarray:
    """Returns logits (T, V) of ids (T,)."""
    tokens = np.asarray(ids, np.int32)[None]
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    return np.asarray(model(inputs, training=False), np.float32)[0]


def _generated(model: keras.Model, prompt: list[int], count: int) -> list[int]:
    """Returns the tokens that keras-hub's greedy `generate` writes, its stop tokens included."""
    model.compile(sampler="greedy")
    # So that ids go in and come out.
    model.preprocessor = None
    row = np.zeros((1, len(prompt) + count), np.int32)
    row[0, : len(prompt)] = prompt
    mask = np.arange(row.shape[1])[None] < len(prompt)
    # What `generate` calls: around it, Gemma 3's images, None without a preprocessor, are refused.
    step = model.make_generate_function()
    given = {"token_ids": tf.constant(row), "padding_mask": tf.constant(mask)}
    done = step(given, stop_token_ids=None)
    return np.asarray(done["token_ids"])[0, len(prompt) :].tolist()
