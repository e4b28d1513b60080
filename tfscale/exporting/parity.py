"""The gate of every export: the file, run by the runtime that phones have, against the Keras
network it is made from.

The same held-out tokens go through the network's full forward pass in float32 and, one by one,
through the file's cached decode step; then prompts of several lengths through its prefill
signatures, and a greedy completion through both. All of it is done with the XNNPACK kernels, which
phones use, and without them. A file that fails is not written.

What a recipe does on purpose, rounding the weights, is kept apart from what must not happen: logits
and tokens are compared with those of the network with rounded weights, so that their limits are
tight for int4 too; perplexity is compared with that of the network itself.
"""

import gzip
import os
from collections.abc import Sequence
from typing import cast

import numpy as np
import tensorflow as tf

from tfscale.config import Quantization
from tfscale.device import DeviceModel, load
from tfscale.device.bench import Benchmark
from tfscale.exporting.embedding import compare_embeddings
from tfscale.exporting.flatbuffer import operations, unrounded_bytes
from tfscale.exporting.limits import Limits, agreeing, keeps_weights, limits_of, relative_change
from tfscale.exporting.report import Checks, Report, Sizes
from tfscale.exporting.tflite import DecodingNetwork, silence
from tfscale.exporting.windows import Windows
from tfscale.inference.generation import Decoder
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models import build_network
from tfscale.models.logits import difference
from tfscale.models.network import LanguageNetwork
from tfscale.models.weight_formats import scale_bytes, store, stored_bytes, weight_formats
from tfscale.text.score import Score, token_nll
from tfscale.text.tokenizers import Tokenizer

GREEDY_TOKENS = 32
"""Tokens of the greedy completion, fewer where the context is shorter."""
_REPEATED_TOKENS = 64
_AFTER_PROMPT = 3
"""Tokens decoded after each prompt: pads left in the cache would change them."""


def compare_file(
    checks: Checks,
    network: DecodingNetwork,
    tokenizer: Tokenizer,
    folder: str,
    held_out: Sequence[int],
    *,
    quantize: Quantization,
    threads: int = 1,
    converted: bool = False,
    document_mask: bool = False,
    embedding: bool = False,
) -> Report:
    """Compares an export folder with the network it was made from.

    Args:
        checks: receives the compared values.
        network: the trained network.
        tokenizer: the run's tokenizer.
        folder: holds model.tflite, model.json and tokenizer/.
        held_out: ids of held-out text, end tokens included; each is predicted once.
        quantize: the recipe, which decides the limits.
        threads: CPU threads of the runtime.
        converted: the network is not one of ours: the converter may fold its weights, and it is
            compared as it is.
        document_mask: each document is compared by itself, as it is scored.
        embedding: the file gives hidden states too.

    Returns:
        `tokens`; `perplexity` of `keras` and `file`; `greedy` with prompt and completions; `sizes`;
        `speed`; `operations` by signature.

    Raises:
        ExportError: the runtime refuses the file.
    """
    stream = np.asarray(held_out, np.int32)
    ends = tokenizer.end_id, tokenizer.start_id, document_mask
    exact = Windows(float32_copy(network), stream, *ends)
    rounded = exact
    if not (converted or keeps_weights(quantize)):
        rounded = Windows(rounded_copy(network, quantize), stream, *ends)
    limits = limits_of(network, quantize, converted)
    speed: Benchmark
    completions = {}
    perplexity = {"keras": exact.score().perplexity, "rounded": rounded.score().perplexity}
    for kernels in ("xnnpack", "plain"):
        with silence():
            model = load(folder, threads=threads, xnnpack=kernels == "xnnpack")
        # Logits that are not finite become NaN in every figure, and NaN is within no limit.
        with np.errstate(invalid="ignore", over="ignore"):
            perplexity[kernels] = _compare_logits(checks, kernels, rounded, model, limits)
            change = relative_change(perplexity[kernels], perplexity["keras"])
            checks.add(f"perplexity_change ({kernels})", change, "<=", limits.perplexity_change)
            _compare_prompts(checks, kernels, rounded, model, limits)
            completions[kernels] = _compare_greedy(checks, kernels, rounded, model, limits)
        if kernels == "xnnpack":
            _compare_tokenizers(checks, tokenizer, model.tokenizer, held_out)
            speed = model.benchmark(tokens=64)
    if embedding:
        compare_embeddings(checks, folder, exact, rounded, limits)
    with open(os.path.join(folder, "model.tflite"), "rb") as file:
        content = file.read()
    sizes = _sizes_of(network, quantize, content)
    _check_size(checks, sizes, content, scale_bytes(network, quantize), converted)
    prompt, keras_tokens, file_tokens = completions["xnnpack"]
    return {
        "tokens": len(stream),
        "perplexity": {
            "keras": perplexity["keras"],
            "keras_rounded": perplexity["rounded"],
            "file": perplexity["xnnpack"],
            "file_plain": perplexity["plain"],
        },
        "greedy": {
            "prompt": tokenizer.decode(prompt),
            "keras": tokenizer.decode(keras_tokens),
            "file": tokenizer.decode(file_tokens),
        },
        "sizes": sizes,
        "speed": speed,
        "operations": operations(content),
    }


def _sizes_of(network: DecodingNetwork, quantize: Quantization, content: bytes) -> Sizes:
    return {
        "file_bytes": len(content),
        "gzip_bytes": len(gzip.compress(content, compresslevel=6)),
        "weight_bytes": stored_bytes(network, quantize),
        "float32_weight_bytes": stored_bytes(network, "none"),
    }


def float32_copy(network: DecodingNetwork) -> DecodingNetwork:
    """Returns the network itself, or one with the same weights that computes in float32."""
    if network.precision == "float32":
        return network
    ours = cast(LanguageNetwork, network)  # The other kind computes in float32.
    copy = build_network(ours.config, precision="float32")
    copy.set_weights(ours.get_weights())
    return copy


def rounded_copy(network: DecodingNetwork, quantize: Quantization) -> DecodingNetwork:
    """Returns a network that computes in float32, with the weights that a recipe stores."""
    copy = build_network(cast(LanguageNetwork, network).config, precision="float32")
    formats = weight_formats(network, quantize)
    for target, weight in zip(copy.weights, network.weights, strict=True):
        target.assign(store(tf.convert_to_tensor(weight.value), formats[weight.path]))
    return copy


def _compare_logits(
    checks: Checks, kernels: str, windows: Windows, model: DeviceModel, limits: Limits
) -> float:
    """Reads each window token by token; returns the file's perplexity."""
    decoder = model.decoder()
    total, squares, same, nll = 0.0, 0.0, 0, 0.0
    largest = []
    first = np.empty(0)
    for index, (ids, targets, expected) in enumerate(
        zip(windows.inputs, windows.targets, windows.logits, strict=True)
    ):
        decoder.reset()
        logits = np.stack([decoder.feed([int(token)]) for token in ids])
        if index == 0:
            first = logits[:_REPEATED_TOKENS]
        gap = np.abs(difference(logits, expected))
        largest.append(gap.max())
        total += float(gap.mean(axis=-1).sum())
        squares += float(np.square(gap).mean(axis=-1).sum())
        same += agreeing(logits, expected, limits.greedy_gap * windows.spread)
        nll += float(token_nll(logits, targets).sum())
    decoder.reset()
    again = np.stack([decoder.feed([int(token)]) for token in windows.inputs[0][:_REPEATED_TOKENS]])
    tokens = windows.score().tokens
    perplexity = Score(nll, tokens).perplexity
    checks.add(
        f"max_logit_difference ({kernels})", float(np.max(largest)), "<=", _largest(windows, limits)
    )
    checks.add(f"mean_logit_difference ({kernels})", total / tokens, "<=", None)
    relative = float(np.sqrt(squares / tokens)) / windows.spread
    checks.add(f"relative_logit_error ({kernels})", relative, "<=", limits.relative_logit_error)
    checks.add(f"top1_agreement ({kernels})", same / tokens, ">=", limits.top1_agreement)
    checks.add(f"second_run_difference ({kernels})", float(np.abs(again - first).max()), "==", 0.0)
    return perplexity


def _compare_prompts(
    checks: Checks, kernels: str, windows: Windows, model: DeviceModel, limits: Limits
) -> None:
    """Reads prompts that fill a prefill call, that leave pads in it, and that fill the context."""
    decoder = model.decoder()
    lengths = decoder.prefill_lengths
    if not lengths:
        return
    ids, expected = windows.longest_prompt(max(lengths) + 1 + _AFTER_PROMPT)
    differences = []
    for count in sorted(
        {min(n, len(ids)) for length in lengths for n in (length, length + 1)} | {len(ids)}
    ):
        decoder.reset()
        read = [decoder.feed(ids[:count])]
        read += [decoder.feed([token]) for token in ids[count : count + _AFTER_PROMPT]]
        differences.append(difference(np.stack(read), expected[count - 1 : count + _AFTER_PROMPT]))
    gaps = np.concatenate(differences)
    largest = float(np.abs(gaps).max())
    relative = float(np.sqrt(np.square(gaps).mean())) / windows.spread
    checks.add(f"prompt_max_logit_difference ({kernels})", largest, "<=", _largest(windows, limits))
    checks.add(
        f"prompt_relative_logit_error ({kernels})", relative, "<=", limits.relative_logit_error
    )


def _largest(windows: Windows, limits: Limits) -> float | None:
    """Returns the most that a single logit may differ by."""
    return (
        None
        if limits.max_logit_difference is None
        else limits.max_logit_difference * max(1.0, windows.spread)
    )


def _compare_greedy(
    checks: Checks, kernels: str, windows: Windows, model: DeviceModel, limits: Limits
) -> tuple[list[int], list[int], list[int]]:
    """Completes the first window's beginning by both; returns the prompt and both completions."""
    ids = windows.inputs[0].tolist()
    context = windows.reference.config.sequence_length
    prompt = ids[: max(1, min(16, len(ids), context // 2))]
    count = max(1, min(GREEDY_TOKENS, context - len(prompt)))
    keras_decoder = KerasDecoder(windows.reference, prefill_lengths=[])
    expected, expected_logits = _greedy(keras_decoder, prompt, count)
    received, _ = _greedy(model.decoder(), prompt, count)
    equal = next((i for i in range(count) if expected[i] != received[i]), count)
    gap = 0.0
    if equal < count:
        logits = expected_logits[equal]
        gap = float(logits[expected[equal]] - logits[received[equal]]) / windows.spread
    checks.add(f"greedy_tokens_equal ({kernels})", equal, "==", None)
    checks.add(f"greedy_gap ({kernels})", gap, "<=", limits.greedy_gap)
    return prompt, expected, received


def _greedy(decoder: Decoder, prompt: list[int], count: int) -> tuple[list[int], list[np.ndarray]]:
    decoder.reset()
    logits = [decoder.feed(prompt)]
    tokens = [int(logits[0].argmax())]
    while len(tokens) < count:
        logits.append(decoder.feed([tokens[-1]]))
        tokens.append(int(logits[-1].argmax()))
    return tokens, logits


def _compare_tokenizers(
    checks: Checks, ours: Tokenizer, shipped: Tokenizer, held_out: Sequence[int]
) -> None:
    text = ours.decode([int(token) for token in held_out])
    ids = shipped.encode(text)
    checks.add("tokenizer_ids_equal", int(ids == ours.encode(text)), "==", 1)
    checks.add(
        "tokenizer_round_trip", int(shipped.decode(ids) == text), "==", 1 if ours.lossless else None
    )


def _check_size(checks: Checks, sizes: Sizes, content: bytes, scales: int, converted: bool) -> None:
    """Checks the size: less than the weights means lost ones, more means some stored twice.

    The graph takes up to 600 bytes an operation. How much the converter folds of other people's
    models, and which constants they have, is not known: only their int8 files are checked, whose
    constants differ from the weights by their type.
    """
    counts = operations(content)
    graph = (
        600 * sum(sum(names.values()) for names in counts.values()) + sizes["weight_bytes"] // 10
    )
    most = sizes["weight_bytes"] + scales + graph
    if not converted:
        checks.add(
            "file_bytes (weights present)",
            sizes["file_bytes"],
            ">=",
            int(0.9 * sizes["weight_bytes"]),
        )
        checks.add("file_bytes (weights stored once)", sizes["file_bytes"], "<=", most)
    elif scales:
        size = sizes["file_bytes"] - unrounded_bytes(content)
        checks.add("rounded_bytes (weights stored once)", size, "<=", most)
