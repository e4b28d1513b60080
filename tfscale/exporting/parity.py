"""The gate of every export: the file, run by the runtime that phones have, against the Keras
network it is made from.

The same held-out tokens go through the network's full forward pass in float32 and, one by one,
through the file's cached decode step; then prompts of several lengths through its prefill
signatures, and a greedy completion through both. All of it is done with the XNNPACK kernels, which
phones use, and without them. A file that fails is not written.

What a recipe does on purpose, rounding the weights, is kept apart from what must not happen: logits
and tokens are compared with those of the network with rounded weights, so that their limits are
tight for int4 too; perplexity is compared with that of the network itself.

Products with rounded weights round what they are given, and how much that may change grows with the
number of layers. So a file of such weights is compared a third time, by a copy in float32
(`tfscale.exporting.dequantized`), whose limits are those of a float32 file at any depth.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from mmap import ACCESS_READ, mmap
from types import MappingProxyType
from typing import cast

import numpy as np

from tfscale.compat.memory import give_memory_back
from tfscale.config import Quantization
from tfscale.device import load
from tfscale.device.bench import Benchmark
from tfscale.device.decoder import LiteRTDecoder
from tfscale.device.turns import Turn
from tfscale.exporting.comparison import (
    LogitGaps,
    compare_completion,
    completed,
    greedy,
    largest_allowed,
)
from tfscale.exporting.converter import silence
from tfscale.exporting.dequantized import dequantized_folder
from tfscale.exporting.embedding import compare_embeddings, states_of
from tfscale.exporting.flatbuffer import operations, unrounded_bytes
from tfscale.exporting.limits import (
    Limits,
    float32_copy_limits,
    keeps_weights,
    limits_of,
    relative_change,
)
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.rounded import given, numbers_in_place, rounded_in_place
from tfscale.exporting.sizes import check_size, sizes_of
from tfscale.exporting.tflite import DecodingNetwork
from tfscale.exporting.windows import Windows
from tfscale.models import build_network
from tfscale.models.logits import difference
from tfscale.models.network import LanguageNetwork
from tfscale.models.recipe import recipe
from tfscale.models.weight_formats import scale_bytes
from tfscale.text.tokenizers import Tokenizer

_REPEATED_TOKENS = 64
_AFTER_PROMPT = 3
"""Tokens decoded after each prompt: pads left in the cache would change them."""
_FLOAT32_COPY = "float32 copy"
_COPY_TOKENS = 128
"""Tokens by which the copy is compared: each of them reads all of its numbers but tables."""


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
    chosen: Mapping[str, np.ndarray] = MappingProxyType({}),
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
        converted: the network is not one of ours: the converter may fold its weights and has
            constants that nobody knows of.
        document_mask: each document is compared by itself, as it is scored.
        embedding: the file gives hidden states too.
        chosen: numbers of weights, by their paths, that were not rounded to the nearest.

    Returns:
        `tokens`; `perplexity` of `keras` and `file`; `greedy` with prompt and completions; `sizes`;
        `speed`; `operations` by signature.

    Raises:
        ExportError: the runtime refuses the file.
    """
    path = os.path.join(folder, "model.tflite")
    stream = np.asarray(held_out, np.int32)
    ends = tokenizer.end_id, tokenizer.start_id, document_mask
    exact = float32_copy(network)
    # What the converter makes of other people's weights in float16 is known to it alone.
    as_stored = recipe(quantize).rounds or not (converted or keeps_weights(quantize))
    limits = limits_of(network, quantize, converted and not as_stored)
    speed: Benchmark
    completions, perplexities = {}, {}
    with contextlib.ExitStack() as stack:
        # Logits that are not finite become NaN in every figure, and NaN is within no limit.
        stack.enter_context(np.errstate(invalid="ignore", over="ignore"))
        windows = Windows(exact, stream, *ends)
        keras_perplexity = windows.score.perplexity
        states = states_of(windows) if embedding else []
        if as_stored:
            # The numbers that were chosen are in the file as they are: they round to themselves.
            stack.enter_context(numbers_in_place(exact, given(chosen)))
            stack.enter_context(rounded_in_place(exact, quantize))
            windows = Windows(exact, stream, *ends)
        rounded_perplexity = windows.score.perplexity
        expected = completed(windows)
        for kernels in ("xnnpack", "plain"):
            with silence():
                model = load(folder, threads=threads, xnnpack=kernels == "xnnpack")
            decoder = model.decoder()
            perplexities[kernels] = _compare_logits(checks, kernels, windows, decoder, limits)
            change = relative_change(perplexities[kernels], keras_perplexity)
            # What learned from text may predict it better than the network does.
            if chosen and perplexities[kernels] < keras_perplexity:
                change = -change
            checks.add(f"perplexity_change ({kernels})", change, "<=", limits.perplexity_change)
            if as_stored:
                change = relative_change(perplexities[kernels], rounded_perplexity)
                checks.add(
                    f"perplexity_change_from_rounded ({kernels})", change, "<=", limits.from_rounded
                )
            _compare_prompts(checks, kernels, windows, decoder, limits)
            received, _ = greedy(model.decoder(), expected.prompt, len(expected.tokens))
            compare_completion(checks, expected, received, windows.spread, limits, kernels)
            completions[kernels] = received
            if kernels == "xnnpack":
                _compare_tokenizers(checks, tokenizer, model.tokenizer, held_out)
                speed = model.benchmark(tokens=64)
            del model, decoder
            give_memory_back()
        if recipe(quantize).rounds:
            exactly = float32_copy_limits(network, quantize, converted)
            _compare_float32_copy(checks, windows, folder, exactly)
        if embedding:
            compare_embeddings(checks, folder, windows, states, limits)
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        counts, others = operations(content), unrounded_bytes(content)
    sizes = sizes_of(network, quantize, path)
    check_size(checks, sizes, counts, others, scale_bytes(network, quantize), quantize, converted)
    return {
        "tokens": len(stream),
        "perplexity": {
            "keras": keras_perplexity,
            "keras_rounded": rounded_perplexity,
            "file": perplexities["xnnpack"],
            "file_plain": perplexities["plain"],
        },
        "greedy": {
            "prompt": tokenizer.decode(expected.prompt),
            "keras": tokenizer.decode(expected.tokens),
            "file": tokenizer.decode(completions["xnnpack"]),
        },
        "sizes": sizes,
        "speed": speed,
        "operations": counts,
    }


def float32_copy(network: DecodingNetwork) -> DecodingNetwork:
    """Returns the network itself, or one with the same weights that computes in float32."""
    if network.precision == "float32":
        return network
    ours = cast(LanguageNetwork, network)  # The other kind computes in float32.
    copy = build_network(ours.config, precision="float32")
    copy.set_weights(ours.get_weights())
    return copy


def _compare_float32_copy(checks: Checks, windows: Windows, folder: str, limits: Limits) -> None:
    """Compares the numbers and operations of a file of rounded weights, without the rounding of
    what products are given."""
    with dequantized_folder(folder) as copy:
        with silence():
            # XNNPACK would lay all float32 weights out a second time.
            decoder = LiteRTDecoder(os.path.join(copy, "model.tflite"), xnnpack=False)
        _compare_logits(checks, _FLOAT32_COPY, windows, decoder, limits, _COPY_TOKENS)
        _compare_prompts(checks, _FLOAT32_COPY, windows, decoder, limits)
        del decoder
    give_memory_back()


def _compare_logits(
    checks: Checks,
    by: str,
    windows: Windows,
    decoder: LiteRTDecoder | Turn,
    limits: Limits,
    tokens: int | None = None,
) -> float:
    """Reads each window, or about the first `tokens`, token by token; returns the perplexity."""
    gaps = LogitGaps(windows, limits, by)
    first: list[np.ndarray] = []
    for part in windows.parts():
        if tokens is not None and gaps.tokens >= tokens:
            break
        if part.begins:
            decoder.reset()
        logits = np.stack([decoder.feed([int(token)]) for token in part.ids])
        if len(first) < len(repeated := windows.inputs[0][:_REPEATED_TOKENS]):
            first += list(logits[: len(repeated) - len(first)])
        gaps.add(logits, part.logits, part.targets)
    decoder.reset()
    again = [
        np.abs(decoder.feed([int(token)]) - logits).max()
        for token, logits in zip(repeated, first, strict=True)
    ]
    perplexity = gaps.finish(checks)
    checks.add(f"second_run_difference ({by})", float(np.max(again)), "==", 0.0)
    return perplexity


def _compare_prompts(
    checks: Checks, by: str, windows: Windows, decoder: LiteRTDecoder | Turn, limits: Limits
) -> None:
    """Reads prompts that fill a prefill call, that leave pads in it, and that fill the context."""
    lengths = decoder.prefill_lengths
    if not lengths:
        return
    ids, reading = windows.longest_prompt(max(lengths) + 1 + _AFTER_PROMPT)
    differences = []
    for count in sorted(
        {min(n, len(ids)) for length in lengths for n in (length, length + 1)} | {len(ids)}
    ):
        decoder.reset()
        read = [decoder.feed(ids[:count])]
        read += [decoder.feed([token]) for token in ids[count : count + _AFTER_PROMPT]]
        expected = reading.logits(count - 1, min(len(ids), count + _AFTER_PROMPT))
        differences.append(difference(np.stack(read), expected))
    gaps = np.concatenate(differences)
    largest = float(np.abs(gaps).max())
    relative = float(np.sqrt(np.square(gaps).mean())) / windows.spread
    most = largest_allowed(limits, windows.spread)
    checks.add(f"prompt_max_logit_difference ({by})", largest, "<=", most)
    checks.add(f"prompt_relative_logit_error ({by})", relative, "<=", limits.relative_logit_error)


def _compare_tokenizers(
    checks: Checks, ours: Tokenizer, shipped: Tokenizer, held_out: Sequence[int]
) -> None:
    text = ours.decode([int(token) for token in held_out])
    ids = shipped.encode(text)
    checks.add("tokenizer_ids_equal", int(ids == ours.encode(text)), "==", 1)
    checks.add(
        "tokenizer_round_trip", int(shipped.decode(ids) == text), "==", 1 if ours.lossless else None
    )
