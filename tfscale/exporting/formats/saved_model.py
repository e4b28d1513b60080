"""A folder for TensorFlow and TensorFlow Serving."""

import os
from typing import TYPE_CHECKING

from tfscale.exporting.format import ExportFormat
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.source import Export
from tfscale.files.description import Description
from tfscale.registry import register

if TYPE_CHECKING:
    from tfscale.exporting.network import TextSource


@register
class SavedModel(ExportFormat["TextSource"]):
    """A SavedModel with serving signatures, in float32."""

    name = "saved_model"
    summary = "a folder for TensorFlow and TensorFlow Serving, in float32"
    made_of = "models that write text"
    takes = frozenset({"text"})
    recipes = ("none",)
    file = "saved_model"
    runtime = "TensorFlow"

    def write(self, export: "Export[TextSource]") -> None:
        from tfscale.exporting.saved_model import write_saved_model

        path = export.path(self.file)
        write_saved_model(export.source.network, export.config.prefill_lengths, path)

    def digested(self, path: str) -> str:
        return os.path.join(path, "saved_model.pb")

    def compare(self, export: "Export[TextSource]", checks: Checks) -> Report:
        from tfscale.exporting.saved_model import compare_saved_model

        source = export.source
        tokens = source.held_out(export.config.parity_tokens).tokens
        ends = source.tokenizer.end_id, source.tokenizer.start_id, source.document_mask
        return compare_saved_model(checks, source.network, export.path(self.file), tokens, *ends)

    def readme(self, export: "Export[TextSource]", description: Description, report: Report) -> str:
        from tfscale.exporting.readmes import text_readme

        return text_readme("saved_model.md.j2", export.source, description, report)
