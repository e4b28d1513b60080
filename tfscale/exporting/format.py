"""`ExportFormat`: one form of file that a model can be exported in, and the steps of writing it.

A format is one class in one file, registered by `tfscale.register`; `tfscale.exporting.writer` goes
through its steps, so that a file of any format is written whole or not at all, and only after it
was compared with the model that it was made from. TensorFlow is imported inside of the steps: the
names and summaries of formats are also read where it is not installed.
"""

import abc
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    NotRequired,
    TypedDict,
    TypeVar,
)

import numpy as np

from tfscale.config import ExportConfig
from tfscale.errors import ConfigError, ExportError
from tfscale.files.description import Description
from tfscale.registry import FORMATS, RECIPES

if TYPE_CHECKING:
    from tfscale.device.bench import Benchmark
    from tfscale.device.model import ExportedFile
    from tfscale.exporting.source import Source

SourceT = TypeVar("SourceT", bound="Source")
SourceT_co = TypeVar("SourceT_co", bound="Source", covariant=True)
SourceKind = Literal["text", "windows", "task", "ngram"]
"""text: a network that writes text token by token; windows: a network that reads whole windows;
task: a fine-tuned task; ngram: an n-gram model."""


class Check(TypedDict):
    """One compared value: `limit` is None where it is measured only."""

    name: str
    value: float
    rule: str
    limit: float | None
    passed: bool


class Sizes(TypedDict, total=False):
    """Bytes of the file and of what it is made of, and n-grams of each order."""

    file_bytes: int
    gzip_bytes: int
    bundle_bytes: int
    weight_bytes: int
    float32_weight_bytes: int
    keras_bytes: int
    ngrams: list[int]


class ReportedTokens(TypedDict):
    """Held-out tokens: where they come from, how many, and how many of them are unknown."""

    source: str
    tokens: int
    unknown_tokens: NotRequired[int]


class ReportedExamples(TypedDict):
    """Examples of a task: where they come from, and how many."""

    source: str
    examples: int


class Report(TypedDict, total=False):
    """The parity report, the content of parity.json; entries are there where they apply.

    `perplexity` and `pseudo_perplexity` are those before and after; `held_out` and `compared_on`
    say on what the comparison was made.
    """

    passed: bool
    quantize: str
    checks: list[Check]
    format: str
    output: str
    sizes: Sizes
    tokens: int
    vocabulary_size: int
    decodes: bool
    perplexity: dict[str, float]
    pseudo_perplexity: dict[str, float]
    greedy: dict[str, str]
    speed: "Benchmark"
    operations: dict[str, dict[str, int]]
    signatures: dict[str, list[str]]
    held_out: ReportedTokens
    compared_on: ReportedExamples
    versions: dict[str, str]


class Checks:
    """Compared values with their limits.

    Example:
        checks.add("weight_difference", 0.0, "==", 0.0)
    """

    def __init__(self) -> None:
        self.rows: list[Check] = []

    def add(self, name: str, value: float, rule: str, limit: float | None) -> None:
        """Adds a row.

        Args:
            name: what was compared.
            value: the measured value.
            rule: "<=", ">=" or "==", between value and limit.
            limit: None for a measurement, which passes.
        """
        compare = {"<=": np.less_equal, ">=": np.greater_equal, "==": np.equal}[rule]
        passed = limit is None or bool(compare(value, limit))
        self.rows.append(
            {"name": name, "value": value, "rule": rule, "limit": limit, "passed": passed}
        )

    @property
    def passed(self) -> bool:
        """Whether all values are within their limits."""
        return all(row["passed"] for row in self.rows)

    def report(self, quantize: str, rest: Report) -> Report:
        """Returns a parity report with these checks.

        Args:
            quantize: the recipe that was applied.
            rest: the other entries.
        """
        return {"passed": self.passed, "quantize": quantize, "checks": self.rows, **rest}


@dataclass(frozen=True)
class Export(Generic[SourceT_co]):
    """One export while it is written.

    Attributes:
        source: what is exported.
        config: the options.
        folder: the temporary folder that becomes the export folder.
        note: receives the name of each stage.
    """

    source: SourceT_co
    config: ExportConfig
    folder: str
    note: Callable[[str], None]

    def path(self, name: str) -> str:
        """Returns the path of a file in the folder."""
        return os.path.join(self.folder, name)


class ExportFormat(abc.ABC, Generic[SourceT]):
    """A form of file that models are exported in.

    Attributes:
        name: what a user types after `--format`, and model.json says.
        summary: one line for `--help`.
        made_of: the models that it takes, in words for messages: "n-gram models".
        takes: the kinds of source that it takes.
        recipes: the recipes of `quantize` that it takes; None for all that the source takes.
        file: name of the file (or folder) that it writes.
        converting: name of the stage in which the file is written, for progress.
        comparing: name of the stage in which it is compared.
        runtime: what runs the file, for the report; the name where it is empty.

    Example:
        @tfscale.register
        class NumpyFormat(tfscale.ExportFormat):
            name, summary, file = "npz", "the weights as NumPy arrays", "weights.npz"
            made_of, takes, recipes = "networks", {"text", "windows"}, ("none",)

            def write(self, export):
                weights = {weight.path: weight.numpy() for weight in export.source.network.weights}
                numpy.savez(export.path(self.file), **weights)

            def compare(self, export, checks):
                stored = numpy.load(export.path(self.file))
                for weight in export.source.network.weights:
                    equal = numpy.array_equal(stored[weight.path], weight.numpy())
                    checks.add(weight.path, float(equal), "==", 1)
                return {"sizes": {"file_bytes": os.path.getsize(export.path(self.file))}}

            def readme(self, export, description, report):
                return "# Weights\\n"
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    made_of: ClassVar[str]
    takes: ClassVar[frozenset[SourceKind] | set[SourceKind]]
    recipes: ClassVar[tuple[str, ...] | None] = None
    file: ClassVar[str]
    comparing: ClassVar[str] = "compare with Keras"
    converting: ClassVar[str] = "convert"
    runtime: ClassVar[str] = ""

    def check(self, source: SourceT, config: ExportConfig) -> None:
        """Refuses what cannot be written, before anything is.

        Raises:
            ConfigError: another kind of source, or a recipe that the format or the source has not.
            ExportError: what the format needs is not installed.
        """
        if source.kind not in self.takes:
            raise ConfigError(f"format={self.name!r} is for {self.made_of}; {source.advice}")
        names = RECIPES.names() if source.recipes is None else source.recipes
        allowed = [name for name in names if self.recipes is None or name in self.recipes]
        if config.quantize not in allowed:
            raise ConfigError(
                f"quantize: expected one of {', '.join(allowed)}; received {config.quantize!r},"
                f" which is not for {source.noun} with format={self.name}"
            )

    @abc.abstractmethod
    def write(self, export: Export[SourceT]) -> None:
        """Writes `self.file` into the folder, which holds the tokenizer already."""

    def digested(self, path: str) -> str:
        """Returns the file whose digest model.json has: `path`, or a file in it."""
        return path

    def describe(self, export: Export[SourceT]) -> Description:
        """Returns what model.json says; the writer adds the file's name and digest."""
        return export.source.describe(export.config)

    @abc.abstractmethod
    def compare(self, export: Export[SourceT], checks: Checks) -> Report:
        """Compares the file with what it was made from.

        Args:
            export: its folder holds the file, model.json and the tokenizer.
            checks: receives the compared values; one that is out of its limit ends the export.

        Returns:
            The other entries of the report, `sizes` with `file_bytes` among them.
        """

    def finish(self, export: Export[SourceT], checks: Checks, report: Report) -> str:
        """Makes the last changes to a file that passed; returns its name, which may be another.

        Args:
            export: as for `compare`.
            checks: receives further values.
            report: the report so far; may be added to.
        """
        return self.file

    @abc.abstractmethod
    def readme(self, export: Export[SourceT], description: Description, report: Report) -> str:
        """Returns the text of README.md."""

    @classmethod
    def load(cls, file: "ExportedFile") -> Any:
        """Loads a file of this format for `tfscale.device.load`, without TensorFlow.

        Raises:
            ExportError: nothing in tfscale runs it, which is so unless a subclass does.
        """
        raise ExportError(
            f"{file.path} is a file for other programs ({cls.summary}); tfscale.device does not run"
            " it"
        )

    @classmethod
    def enter_registry(cls) -> None:
        """Registers the format; see `tfscale.register`."""
        FORMATS.add(cls.name, cls)


def require(report: Report) -> None:
    """Refuses a report with a failed check.

    Raises:
        ExportError: names the first failed check, its value and its limit.
    """
    failed = [row for row in report["checks"] if not row["passed"]]
    if not failed:
        return
    row, quantize = failed[0], report["quantize"]
    more = f" ({len(failed) - 1} more checks fail)" if len(failed) > 1 else ""
    advice = RECIPES.get(quantize).advice
    tokens = report.get("tokens", _FEW_TOKENS)
    if tokens < _FEW_TOKENS and row["name"].startswith(("top1", "perplexity", "pseudo")):
        advice += f"; {tokens} held-out tokens say little: give {_FEW_TOKENS:,} or more"
    raise ExportError(
        f"the {quantize} file fails its parity check: {row['name']} is {row['value']:.4g}, which"
        f" must be {row['rule']} {row['limit']:.4g}{more}; nothing was written{advice}"
    )


_FEW_TOKENS = 1000
"""Held-out tokens below which shares and perplexities of a right file may fail by chance."""
