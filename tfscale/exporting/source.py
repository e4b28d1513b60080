"""`Source`: a model that is exported, and what it can give to a format.

Each kind of model has one: `tfscale.exporting.network` for a network that writes text,
`tfscale.exporting.scoring` for one that reads whole windows, `tfscale.exporting.prediction` for a
classifier or another model of somebody's own, `tfscale.exporting.task` for a fine-tuned task,
`tfscale.exporting.ngram` for n-grams.
"""

import abc
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from tfscale.config import ExportConfig
from tfscale.config.choices import Rounding
from tfscale.files.description import Description
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from tfscale.exporting.report import Checks, Report


CONVERTED = ("none", "float16", "int8")
"""Recipes that any network can be stored with; others need to know what its layers compute."""


SourceKind = Literal["text", "windows", "task", "ngram", "predictor"]
"""text: a network that writes text token by token; windows: a network that reads whole windows;
task: a fine-tuned task; ngram: an n-gram model; predictor: somebody's own model of another kind."""


@dataclass(frozen=True)
class HeldOut:
    """Token ids that a model was not trained on, and where they come from, in words."""

    tokens: list[int]
    origin: str


class Source(abc.ABC):
    """A model that is exported.

    Attributes:
        kind: what it computes; see `SourceKind`.
        noun: one of its kind, for messages: "an n-gram model".
        advice: what to do where a format does not take it.
        embeds: whether its .tflite file can give hidden states.
        recipes: values of `quantize` that it can be stored with; None for all.
        roundings: values of `rounding` that it can be stored with.
        tokenizer: saved beside the file; None where the user has one.
        directory: its run folder; "" where there is none.
        network: its Keras model; None for n-grams.
        has_report: whether report.html is written too.
        title: what report.html calls it; the family's name where it is empty.
    """

    kind: ClassVar[SourceKind]
    noun: str
    advice: str
    embeds: ClassVar[bool] = False
    recipes: tuple[str, ...] | None = None
    roundings: ClassVar[tuple[Rounding, ...]] = ("nearest",)
    tokenizer: Tokenizer | None
    directory: str = ""
    # A format knows by `kind` which class the network of its sources has.
    network: Any = None
    has_report: ClassVar[bool] = False
    title: ClassVar[str] = ""

    def check(self, config: ExportConfig) -> None:
        """Refuses a model whose parts do not fit together, and draws what it is compared on, before
        anything is written.

        Raises:
            TfscaleError: says which parts.
        """
        self.held_out(config.parity_tokens)

    def prepare(self, config: ExportConfig, note: Callable[[str], None]) -> None:  # noqa: B027
        """Does what takes long before the file can be written.

        Args:
            config: the options.
            note: receives the name of each stage.
        """

    def held_out(self, count: int) -> HeldOut:
        """Returns up to `count` tokens to compare on; none where it is not a model of tokens."""
        return HeldOut([], "")

    @abc.abstractmethod
    def describe(self, config: ExportConfig) -> Description:
        """Returns what model.json says of the model, whatever the format."""

    @abc.abstractmethod
    def complete(self, report: "Report", config: ExportConfig) -> None:
        """Adds to a report what the comparison was made on."""


class TFLiteSource(Source):
    """A model that can become a .tflite file.

    Attributes:
        tflite_format: what model.json calls such a file, by which `tfscale.device` loads it.
    """

    tflite_format: ClassVar[str]

    @abc.abstractmethod
    def convert(self, config: ExportConfig) -> bytes:
        """Returns the bytes of the .tflite file.

        Raises:
            ExportError: TFLite has no built-in operation for a part of the model.
        """

    def write(self, file: IO[bytes], config: ExportConfig) -> None:
        """Writes the .tflite file, from the beginning of `file` on.

        Raises:
            ExportError: as for `convert`.
        """
        file.write(self.convert(config))

    @abc.abstractmethod
    def compare_tflite(self, export: "Export[Source]", checks: "Checks") -> "Report":
        """Compares model.tflite with the model; see `ExportFormat.compare`."""

    @abc.abstractmethod
    def tflite_readme(
        self, description: Description, report: "Report", sections: tuple[str, ...] = ()
    ) -> str:
        """Returns the text of README.md beside model.tflite.

        Args:
            description: the content of model.json.
            report: that of parity.json.
            sections: templates of sections that the format adds, for files that write text.
        """


SourceT_co = TypeVar("SourceT_co", bound=Source, covariant=True)


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
