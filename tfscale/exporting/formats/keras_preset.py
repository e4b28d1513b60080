"""A preset of keras-hub, which `keras_hub.models.CausalLM.from_preset` loads."""

import dataclasses
import os
from typing import TYPE_CHECKING

from tfscale.config import ExportConfig
from tfscale.exporting.format import ExportFormat
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.source import Export
from tfscale.files.description import Description
from tfscale.registry import register

if TYPE_CHECKING:
    from tfscale.exporting.network import TextSource


@register
class KerasPreset(ExportFormat["TextSource"]):
    """config.json, model.weights.h5 and the tokenizer's assets, in float32."""

    name = "keras_preset"
    summary = "a folder for keras-hub's CausalLM.from_preset, in float32"
    made_of = "models that write text"
    takes = frozenset({"text"})
    recipes = ("none",)
    file = "model.weights.h5"
    converting = "write the preset"
    comparing = "load by keras-hub and compare"
    runtime = "keras-hub"

    def check(self, source: "TextSource", config: ExportConfig) -> None:
        super().check(source, config)
        from tfscale.exporting.decoders import decoder_of
        from tfscale.exporting.keras_preset import hub_tokenizer, preset_writer

        network = decoder_of(self.name, source.network)
        hub_tokenizer(preset_writer(network.config), source.tokenizer)

    def write(self, export: "Export[TextSource]") -> None:
        from tfscale.exporting.decoders import decoder_of
        from tfscale.exporting.keras_preset import write_preset

        network = decoder_of(self.name, export.source.network)
        write_preset(network, export.source.tokenizer, export.folder)

    def digested(self, path: str) -> str:
        return path if os.path.exists(path) else path.replace(".h5", ".json")

    def compare(self, export: "Export[TextSource]", checks: Checks) -> Report:
        from tfscale.exporting.keras_preset_parity import compare_preset

        source, config = export.source, export.config
        tokens = source.held_out(config.parity_tokens).tokens
        return compare_preset(
            checks,
            source.network,
            source.tokenizer,
            export.folder,
            tokens,
            source.document_mask,
        )

    def finish(self, export: "Export[TextSource]", checks: Checks, report: Report) -> str:
        return os.path.basename(self.digested(export.path(self.file)))

    def readme(self, export: "Export[TextSource]", description: Description, report: Report) -> str:
        from tfscale.exporting.readmes import text_readme

        # A preset has no place for further stop tokens.
        stops = description.stop_ids if len(description.stop_ids or []) > 1 else None
        described = dataclasses.replace(description, stop_ids=None)
        return text_readme("keras_preset.md.j2", export.source, described, report, all_stops=stops)
