"""What a search knows of a file: size, perplexity, speed and memory, all through the runtime of the device."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tfscale.device import load
from tfscale.errors import ExportError


def measure(folder: str, tokens: Sequence[int], utf8_bytes: int, report: dict[str, Any]) -> dict[str, Any]:
    """Measures an exported file.

    Args:
        folder: the export folder.
        tokens: ids to score.
        utf8_bytes: bytes that they stand for.
        report: the parity report of the export.

    Returns:
        `bytes`, `gzip_bytes`, `perplexity`, `bits_per_byte`, `tokens_per_second` (decoding, one thread) and
        `peak_rss_bytes` of a process that does nothing but run the file.

    Raises:
        ExportError: the process fails.
    """
    score = load(folder).score(list(tokens), utf8_bytes)
    words = [sys.executable, "-m", "tfscale.cli", "benchmark", folder, "--json", "--repeats", "5"]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    if done.returncode:
        raise ExportError(f"{folder} cannot be timed: {done.stderr.strip().splitlines()[-1:]}")
    timing = json.loads(done.stdout.splitlines()[-1])
    return {
        "bytes": report["sizes"]["file_bytes"],
        "gzip_bytes": report["sizes"]["gzip_bytes"],
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
        "tokens_per_second": timing["decode_tokens_per_second"],
        "peak_rss_bytes": timing["peak_rss_bytes"],
    }
