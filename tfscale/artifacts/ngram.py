"""An n-gram run: counts and smoothing, which run on the device as they lie."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfscale.artifacts.exported import FileArtifact
from tfscale.config import ExportConfig
from tfscale.files.json_text import JsonObject
from tfscale.files.model_folders import run_data

if TYPE_CHECKING:
    from tfscale.device.ngram import NGramDeviceModel
    from tfscale.exporting.report import Report


class NGramRun(FileArtifact):
    """The folder of an n-gram model: the run that counted it, or its export."""

    kind = "an n-gram run"
    model: "NGramDeviceModel"

    def score(
        self,
        text: Sequence[str] = (),
        data: str | None = None,
        split: str = "validation",
        text_field: str = "text",
    ) -> JsonObject:
        return super().score(text, data if text or data else run_data(self.path), split, text_field)

    def export(
        self, config: ExportConfig, progress: Callable[[str], None] | None = None
    ) -> "Report":
        from tfscale.exporting.ngram import NGramSource
        from tfscale.exporting.writer import export_source

        return export_source(NGramSource(self.model), config, progress)
