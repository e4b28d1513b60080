"""An n-gram model as something to export, and the comparison of its file."""

import abc
import os
from typing import ClassVar

import numpy as np

from tfscale.config import ExportConfig
from tfscale.data.tokens import first_tokens
from tfscale.device.ngram import NGramDeviceModel
from tfscale.exporting.format import ExportFormat
from tfscale.exporting.readmes import ngram_readme
from tfscale.exporting.report import Checks, Report, Sizes
from tfscale.exporting.source import Export, HeldOut, Source, SourceKind
from tfscale.files.description import Description
from tfscale.files.model_folders import run_data
from tfscale.ngram import NGramModel
from tfscale.registry import RECIPES
from tfscale.text.tokenizers import Tokenizer


class NGramSource(Source):
    """An n-gram run.

    Args:
        model: the run, as `tfscale.device.load(RUN_DIR)` gives it.

    Example:
        config = ExportConfig(output="export", format="ngram", quantize="int8")
        export_source(NGramSource(tfscale.device.load("run")), config)
    """

    kind: ClassVar[SourceKind] = "ngram"
    noun = "an n-gram model"
    advice = "give --format ngram or arpa for an n-gram model"
    recipes = ("none", "int8")
    tokenizer: Tokenizer

    def __init__(self, model: NGramDeviceModel):
        self.ngrams, self.tokenizer = model.ngrams, model.tokenizer
        self.directory = os.path.dirname(model.path)
        self._held_out: HeldOut | None = None

    def held_out(self, count: int) -> HeldOut:
        if self._held_out is None:
            self._held_out = self._draw(count)
        return self._held_out

    def _draw(self, count: int) -> HeldOut:
        """Returns tokens of the validation or test split, or drawn by the model itself."""
        ids, origin = first_tokens(run_data(self.directory), self.tokenizer.digest, count)
        if ids is not None:
            return HeldOut(ids.tolist(), origin)
        rng = np.random.default_rng(0)
        tokens = [self.tokenizer.end_id]
        while len(tokens) <= count:
            weights = np.exp(self.ngrams.next_log_probabilities(tokens).astype(np.float64))
            tokens.append(int(rng.choice(len(weights), p=weights / weights.sum())))
        return HeldOut(tokens[1:], f"drawn by the model, because {origin}")

    def stored(self, config: ExportConfig) -> NGramModel:
        """Returns the model as a file stores it: rounded to at most 256 probabilities an order."""
        return self.ngrams.quantized() if RECIPES.get(config.quantize).rounds else self.ngrams

    def describe(self, config: ExportConfig) -> Description:
        return Description(
            family="ngram",
            model={"order": self.ngrams.order, "ngrams": self.stored(config).sizes},
            end_id=self.tokenizer.end_id,
            vocabulary_size=self.ngrams.vocabulary_size,
        )

    def complete(self, report: Report, config: ExportConfig) -> None:
        held_out = self.held_out(config.parity_tokens)
        report["held_out"] = {"source": held_out.origin, "tokens": len(held_out.tokens)}


class NGramFormat(ExportFormat[NGramSource]):
    """A file of n-grams, read back and compared.

    Attributes:
        digits_limit: most that a log-probability may differ by, from what was written.
        template: of README.md.
    """

    takes = frozenset({"ngram"})
    made_of = "n-gram models"
    comparing, converting = "compare", "write"
    digits_limit: ClassVar[float]
    template: ClassVar[str]

    @abc.abstractmethod
    def read(self, export: Export[NGramSource]) -> NGramModel:
        """Returns the model that the file holds."""

    def compare(self, export: Export[NGramSource], checks: Checks) -> Report:
        source, config = export.source, export.config
        chosen = RECIPES.get(config.quantize)
        stored, read = source.stored(config), self.read(export)
        held_out = np.array(source.held_out(config.parity_tokens).tokens)
        before, after = source.ngrams.score(held_out), read.score(held_out)
        gap = np.abs(read.log_probabilities(held_out) - stored.log_probabilities(held_out)).max()
        checks.add("log_probability_difference", float(gap), "<=", self.digits_limit)
        change = abs(after.perplexity / before.perplexity - 1)
        checks.add("perplexity_change", change, "<=", chosen.perplexity_change)
        # Rounded probabilities of a context no longer add up to 1 exactly.
        off = max(abs(total - 1) for total in _sums(read, held_out))
        allowed = 0.05 if chosen.rounds else 1e-4
        checks.add("sum_of_probabilities_from_1", off, "<=", allowed)
        sizes: Sizes = {
            "file_bytes": os.path.getsize(export.path(self.file)),
            "ngrams": stored.sizes,
        }
        return {
            "perplexity": {"model": before.perplexity, "file": after.perplexity},
            "sizes": sizes,
        }

    def readme(self, export: Export[NGramSource], description: Description, report: Report) -> str:
        return ngram_readme(self.template, description, report)


def _sums(model: NGramModel, tokens: np.ndarray) -> list[float]:
    """Returns the sums of the probabilities of all tokens, after some contexts in a text."""
    places = range(0, len(tokens), max(1, len(tokens) // 16))
    contexts = [tokens[max(0, place - model.order) : place + 1] for place in places]
    return [
        float(np.exp(model.next_log_probabilities(context).astype(np.float64)).sum())
        for context in contexts
    ]
