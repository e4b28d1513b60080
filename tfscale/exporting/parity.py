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

import contextlib
import os
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

from tfscale.config import Quantization
from tfscale.device import DeviceModel, load
from tfscale.device.bench import Benchmark
from tfscale.exporting.converter import silence
from tfscale.exporting.embedding import compare_embeddings, states_of
from tfscale.exporting.flatbuffer import operations, unrounded_bytes
from tfscale.exporting.limits import Limits, agreeing, keeps_weights, limits_of, relative_change
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.rounded import rounded_in_place
from tfscale.exporting.sizes import check_size, sizes_of
from tfscale.exporting.tflite import DecodingNetwork
from tfscale.exporting.windows import Windows
from tfscale.inference.generation import Decoder
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models import build_network
from tfscale.models.logits import difference
from tfscale.models.network import LanguageNetwork
from tfscale.models.recipe import recipe
from tfscale.models.weight_formats import scale_bytes
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
        converted: the network is not one of ours: the converter may fold its weights and has
            constants that nobody knows of.
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
            stack.enter_context(rounded_in_place(exact, quantize))
            windows = Windows(exact, stream, *ends)
        rounded_perplexity = windows.score.perplexity
        expected = _completed(windows)
        for kernels in ("xnnpack", "plain"):
            with silence():
                model = load(folder, threads=threads, xnnpack=kernels == "xnnpack")
            perplexities[kernels] = _compare_logits(checks, kernels, windows, model, limits)
            change = relative_change(perplexities[kernels], keras_perplexity)
            checks.add(f"perplexity_change ({kernels})", change, "<=", limits.perplexity_change)
            _compare_prompts(checks, kernels, windows, model, limits)
            completions[kernels] = _compare_greedy(
                checks, kernels, expected, windows.spread, model, limits
            )
            if kernels == "xnnpack":
                _compare_tokenizers(checks, tokenizer, model.tokenizer, held_out)
                speed = model.benchmark(tokens=64)
            del model
        if embedding:
            compare_embeddings(checks, folder, windows, states, limits)
    path = os.path.join(folder, "model.tflite")
    with open(path, "rb") as file:
        content = file.read()
    counts, others = operations(content), unrounded_bytes(content)
    del content
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


def _compare_logits(
    checks: Checks, kernels: str, windows: Windows, model: DeviceModel, limits: Limits
) -> float:
    """Reads each window token by token; returns the file's perplexity."""
    decoder = model.decoder()
    total, squares, same, nll = 0.0, 0.0, 0, 0.0
    largest = []
    first: list[np.ndarray] = []
    for part in windows.parts():
        if part.begins:
            decoder.reset()
        logits = np.stack([decoder.feed([int(token)]) for token in part.ids])
        if len(first) < len(repeated := windows.inputs[0][:_REPEATED_TOKENS]):
            first += list(logits[: len(repeated) - len(first)])
        gap = np.abs(difference(logits, part.logits))
        largest.append(gap.max())
        total += float(gap.mean(axis=-1).sum())
        squares += float(np.square(gap).mean(axis=-1).sum())
        same += agreeing(logits, part.logits, limits.greedy_gap * windows.spread)
        nll += float(token_nll(logits, part.targets).sum())
    decoder.reset()
    again = [
        np.abs(decoder.feed([int(token)]) - logits).max()
        for token, logits in zip(repeated, first, strict=True)
    ]
    tokens = windows.score.tokens
    perplexity = Score(nll, tokens).perplexity
    checks.add(
        f"max_logit_difference ({kernels})", float(np.max(largest)), "<=", _largest(windows, limits)
    )
    checks.add(f"mean_logit_difference ({kernels})", total / tokens, "<=", None)
    relative = float(np.sqrt(squares / tokens)) / windows.spread
    checks.add(f"relative_logit_error ({kernels})", relative, "<=", limits.relative_logit_error)
    checks.add(f"top1_agreement ({kernels})", same / tokens, ">=", limits.top1_agreement)
    checks.add(f"second_run_difference ({kernels})", float(np.max(again)), "==", 0.0)
    return perplexity


def _compare_prompts(
    checks: Checks, kernels: str, windows: Windows, model: DeviceModel, limits: Limits
) -> None:
    """Reads prompts that fill a prefill call, that leave pads in it, and that fill the context."""
    decoder = model.decoder()
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


class _Completion(NamedTuple):
    """A greedy completion by Keras: the prompt, the tokens, and the logits of each choice."""

    prompt: list[int]
    tokens: list[int]
    logits: list[np.ndarray]


def _completed(windows: Windows) -> _Completion:
    """Completes the first window's beginning by the network."""
    ids = windows.inputs[0].tolist()
    context = windows.reference.config.sequence_length
    prompt = ids[: max(1, min(16, len(ids), context // 2))]
    count = max(1, min(GREEDY_TOKENS, context - len(prompt)))
    decoder = KerasDecoder(windows.reference, prefill_lengths=[])
    return _Completion(prompt, *_greedy(decoder, prompt, count))


def _compare_greedy(
    checks: Checks,
    kernels: str,
    expected: _Completion,
    spread: float,
    model: DeviceModel,
    limits: Limits,
) -> list[int]:
    """Completes the same prompt by the file; returns the completion."""
    count = len(expected.tokens)
    received, _ = _greedy(model.decoder(), expected.prompt, count)
    equal = next((i for i in range(count) if expected.tokens[i] != received[i]), count)
    gap = 0.0
    if equal < count:
        logits = expected.logits[equal]
        gap = float(logits[expected.tokens[equal]] - logits[received[equal]]) / spread
    checks.add(f"greedy_tokens_equal ({kernels})", equal, "==", None)
    checks.add(f"greedy_gap ({kernels})", gap, "<=", limits.greedy_gap)
    return received


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
