"""A file for LiteRT, the runtime of phones."""

import dataclasses
from typing import ClassVar

from tfscale.exporting.format import ExportFormat
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.source import Export, TFLiteSource
from tfscale.files.description import Description
from tfscale.files.paths import atomic_write
from tfscale.registry import register


@register
class TFLite(ExportFormat[TFLiteSource]):
    """model.tflite, which LiteRT runs.

    Attributes:
        sections: templates of further sections of README.md.
    """

    name = "tflite"
    summary = "a file for LiteRT"
    made_of = "networks"
    takes = frozenset({"text", "windows", "task", "predictor"})
    file = "model.tflite"
    runtime = "LiteRT"
    embeds = True
    sections: ClassVar[tuple[str, ...]] = ()

    def write(self, export: Export[TFLiteSource]) -> None:
        with atomic_write(export.path(self.file)) as file:
            export.source.write(file, export.config)

    def describe(self, export: Export[TFLiteSource]) -> Description:
        described = super().describe(export)
        return dataclasses.replace(described, format=export.source.tflite_format)

    def compare(self, export: Export[TFLiteSource], checks: Checks) -> Report:
        return export.source.compare_tflite(export, checks)

    def readme(self, export: Export[TFLiteSource], description: Description, report: Report) -> str:
        return export.source.tflite_readme(description, report, self.sections)
