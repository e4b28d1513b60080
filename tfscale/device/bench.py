"""Times an exported model on this machine."""

import os
import statistics
import sys
import time
from typing import TypedDict

import numpy as np

from tfscale.errors import ConfigError
from tfscale.inference.generation import Decoder


class Timing(TypedDict):
    """The figures of `time_decoder`; the last is None where only the prompt fits."""

    prompt_tokens: int
    decode_tokens: int
    first_token_seconds: float
    prefill_tokens_per_second: float
    decode_tokens_per_second: float | None


class Benchmark(Timing):
    """The figures of `tfscale.device.DeviceModel.benchmark`; None where one is not known."""

    bytes_per_token: int | None
    bandwidth_bytes_per_second: float | None
    bandwidth_bound_tokens_per_second: float | None
    threads: int
    file_bytes: int
    peak_rss_bytes: int | None


def peak_rss_bytes() -> int | None:
    """Returns the most memory that this process has held; None where the system does not say."""
    # On Linux `getrusage` also counts what the process held before it began this program: that of
    # its parent.
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as file:
            lines = [line.split() for line in file if line.startswith("VmHWM:")]
        if lines:
            return int(lines[0][1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def time_decoder(
    decoder: Decoder,
    vocabulary_size: int,
    tokens: int = 128,
    repeats: int = 3,
    prompt_tokens: int = 64,
) -> Timing:
    """Times a prompt of seeded random tokens and the greedy tokens after it.

    Args:
        decoder: the model; it is reset.
        vocabulary_size: ids of the prompt are below it.
        tokens: tokens to decode after the prompt, fewer where the context is shorter.
        repeats: how often; the first call, which warms up, is not counted, and the medians of the
            rest are returned.
        prompt_tokens: tokens of the prompt, at most half of the context.

    Returns:
        `prompt_tokens` and `decode_tokens` as they were; `first_token_seconds` from the prompt's
        start until the first logits; `prefill_tokens_per_second` (the prompt's tokens over that);
        `decode_tokens_per_second`.
    """
    if tokens < 1 or repeats < 1 or prompt_tokens < 1:
        received = f"tokens={tokens}, repeats={repeats}, prompt_tokens={prompt_tokens}"
        raise ConfigError(f"{received} is out of range; expected 1 or more of each")
    if decoder.context_length is not None:
        prompt_tokens = max(1, min(prompt_tokens, decoder.context_length // 2))
        tokens = min(tokens, decoder.context_length - prompt_tokens)
    prompt = np.random.default_rng(0).integers(0, vocabulary_size, prompt_tokens).tolist()
    first, rest = [], []
    for _ in range(repeats + 1):
        decoder.reset()
        started = time.perf_counter()
        logits = decoder.feed(prompt)
        first.append(time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(tokens):
            logits = decoder.feed([int(logits.argmax())])
        rest.append(time.perf_counter() - started)
    decoder.reset()
    first_token_seconds = statistics.median(first[1:])
    return {
        "prompt_tokens": prompt_tokens,
        "decode_tokens": tokens,
        "first_token_seconds": first_token_seconds,
        "prefill_tokens_per_second": prompt_tokens / first_token_seconds,
        "decode_tokens_per_second": tokens / statistics.median(rest[1:]) if tokens else None,
    }


def read_bandwidth(size: int, repeats: int = 7) -> float:
    """Returns the bytes per second that one core reads from an array of `size` bytes.

    A small model lies in the processor's cache, a large one in memory; the array lies where the
    model would. It is read by NumPy's maximum of 64-bit integers, which does one comparison in
    vector registers per 8 bytes. The fastest of `repeats` counts.
    """
    array = np.ones(max(1, size // 8), np.int64)
    times = max(1, 20_000_000 // max(1, array.nbytes))
    best = float("inf")
    for _ in range(repeats + 1):
        started = time.perf_counter()
        for _ in range(times):
            array.max()
        best = min(best, time.perf_counter() - started)
    return array.nbytes * times / best
