"""Measurements of a file: size, perplexity, speed and memory, all through the runtime of the
device."""

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from tfscale.config.compression import SearchConfig
from tfscale.data.retokenize import encode_anew, whole_characters
from tfscale.data.tokens import split_stream
from tfscale.device import load, timing_process
from tfscale.errors import ExportError
from tfscale.exporting.report import Report
from tfscale.runs.folder import Run
from tfscale.text.tokenizers import Tokenizer
from tfscale.workflows.search.outcome import Figures


@dataclass(frozen=True)
class Sample:
    """A text to score files on.

    Attributes:
        tokens: its ids by the file's own tokenizer.
        utf8_bytes: its bytes.
        counted: its tokens by the run's tokenizer. The nats of the text are divided by these,
            whatever tokens the file has: so the perplexity of a file with fewer tokens in its
            vocabulary, which needs more of them for the text, compares with that of the others.
    """

    tokens: list[int]
    utf8_bytes: int
    counted: int

    def cut_by(self, own: Tokenizer, other: Tokenizer) -> "Sample":
        """Returns the same text for a file of another tokenizer than `own`, the run's."""
        return dataclasses.replace(self, tokens=encode_anew(self.tokens, own, other))


@dataclass(frozen=True)
class Samples:
    """The texts that files are scored on: text that no model was trained on and, where one was
    given, the target text."""

    held_out: Sample
    target: Sample | None = None

    def cut_by(self, own: Tokenizer, other: Tokenizer) -> "Samples":
        """Returns the same texts for a file of another tokenizer than `own`, the run's."""
        target = self.target.cut_by(own, other) if self.target else None
        return Samples(self.held_out.cut_by(own, other), target)


def held_out_sample(run: Run, data: str, bounds: SearchConfig) -> Sample:
    """Returns the text that decides: the first tokens of the validation split."""
    tokens = split_stream(data, "validation")[: bounds.evaluation_tokens].tolist()
    if not run.tokenizer.lossless:
        # Of a part of a split, the bytes of a tokenizer that loses text are not known.
        return Sample(tokens, 0, len(tokens))
    if bounds.target_text:
        tokens = whole_characters(tokens, run.tokenizer)
    return Sample(tokens, len(run.tokenizer.decode(tokens).encode()), len(tokens))


def measure(folder: str, samples: Samples, report: Report) -> Figures:
    """Measures an exported file.

    Args:
        folder: the export folder.
        samples: the texts to score, in the tokens of this file.
        report: the parity report of the export.

    Returns:
        `bytes`, `gzip_bytes`, `perplexity` (exp of the nats of the held-out text divided by its
        tokens by the run's tokenizer; see `Sample`), `bits_per_byte`, `tokens_per_second`
        (decoding, one thread, the file's own tokens) and `peak_rss_bytes` of a process that does
        nothing but run the file. With a target text also `target_perplexity` and
        `target_bits_per_byte`, taken in the same way.

    Raises:
        ExportError: the process fails.
    """
    model = load(folder)
    scored = {"": samples.held_out} | ({"target_": samples.target} if samples.target else {})
    figures: Figures = {}
    for prefix, sample in scored.items():
        score = dataclasses.replace(
            model.score(sample.tokens, sample.utf8_bytes), tokens=sample.counted
        )
        figures |= {
            f"{prefix}perplexity": score.perplexity,
            f"{prefix}bits_per_byte": score.bits_per_byte,
        }
    timing = _timing(folder)
    return {
        "bytes": report["sizes"]["file_bytes"],
        "gzip_bytes": report["sizes"]["gzip_bytes"],
        **figures,
        "tokens_per_second": timing["decode_tokens_per_second"] or 0.0,
        "peak_rss_bytes": timing["peak_rss_bytes"],
    }


def _timing(folder: str) -> Figures:
    """Returns the timing of a file in a process of its own."""
    words = [sys.executable, "-m", timing_process.__name__, folder, "5"]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    if done.returncode:
        raise ExportError(f"{folder} cannot be timed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])
