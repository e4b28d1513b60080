"""`ExportFormat`: one form of file that a model can be exported in, and the steps of writing it.

A format is one class in one file, registered by `tfscale.register`; `tfscale.exporting.writer` goes
through its steps, so that a file of any format is written whole or not at all, and only after it
was compared with the model that it was made from. TensorFlow is imported inside of the steps: the
names and summaries of formats are also read where it is not installed.
"""

import abc
from typing import (
    TYPE_CHECKING,
    ClassVar,
    Generic,
    TypeVar,
)

from tfscale.config import ExportConfig
from tfscale.errors import ConfigError, ExportError
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.source import Export, Source, SourceKind
from tfscale.files.description import Description
from tfscale.registry import FORMATS, RECIPES

if TYPE_CHECKING:
    from tfscale.device.model import ExportedFile, ExportedModel

SourceT = TypeVar("SourceT", bound=Source)


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
    embeds: ClassVar[bool] = False

    def check(self, source: SourceT, config: ExportConfig) -> None:
        """Refuses what cannot be written, before anything is.

        Raises:
            ConfigError: another kind of source, or a recipe that the format or the source has not.
            ExportError: what the format needs is not installed.
        """
        if source.kind not in self.takes:
            raise ConfigError(f"format={self.name!r} is for {self.made_of}; {source.advice}")
        if config.embedding and not (self.embeds and source.embeds):
            raise ConfigError(
                f"embedding is for a tflite or web file of a network that writes text; received"
                f" {source.noun} with format={self.name}"
            )
        names = RECIPES.names() if source.recipes is None else source.recipes
        allowed = [name for name in names if self.recipes is None or name in self.recipes]
        if config.quantize not in allowed:
            raise ConfigError(
                f"quantize: expected one of {', '.join(allowed)}; received {config.quantize!r},"
                f" which is not for {source.noun} with format={self.name}"
            )
        if config.rounding not in source.roundings:
            raise ConfigError(
                f"rounding: expected {' or '.join(source.roundings)} for {source.noun}; received"
                f" {config.rounding!r}, which takes the run folder of a network that writes text"
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
    def load(cls, file: "ExportedFile") -> "ExportedModel":
        """Loads a file of this format for `tfscale.device.load`, without TensorFlow.

        Args:
            file: the file, its description, and the options of `tfscale.device.load`.

        Returns:
            An instance of a subclass of `tfscale.device.ExportedModel`.

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
