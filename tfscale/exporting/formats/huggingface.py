"""A folder for Hugging Face's transformers, and for all programs that read such folders."""

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
class HuggingFace(ExportFormat["TextSource"]):
    """config.json, model.safetensors and the tokenizer, as `from_pretrained` reads them."""

    name = "huggingface"
    summary = "a folder for Hugging Face's transformers (Transformers of its architectures)"
    made_of = "models that write text"
    takes = frozenset({"text"})
    recipes = ("none", "float16")
    file = "model.safetensors"
    comparing = "read back and compare"
    converting = "write the checkpoint"
    runtime = "transformers"

    def check(self, source: "TextSource", config: ExportConfig) -> None:
        super().check(source, config)
        from tfscale.exporting.decoders import decoder_of
        from tfscale.exporting.huggingface import check_tokenizer
        from tfscale.models.hub_writer import writer_of

        network = decoder_of(self.name, source.network)
        check_tokenizer(writer_of(network.config), source.tokenizer)

    def write(self, export: "Export[TextSource]") -> None:
        from tfscale.exporting.decoders import decoder_of
        from tfscale.exporting.huggingface import write_hub_folder

        source = export.source
        network = decoder_of(self.name, source.network)
        write_hub_folder(export.folder, network, source.tokenizer, export.config.quantize)

    def digested(self, path: str) -> str:
        return path if os.path.exists(path) else f"{path}.index.json"

    def describe(self, export: "Export[TextSource]") -> Description:
        from tfscale.exporting.decoders import decoder_of
        from tfscale.models.hub_writer import writer_of

        described = super().describe(export)
        network = decoder_of(self.name, export.source.network)
        architecture = writer_of(network.config).architecture
        return dataclasses.replace(described, more={"architecture": architecture})

    def compare(self, export: "Export[TextSource]", checks: Checks) -> Report:
        from tfscale.exporting.decoders import decoder_of
        from tfscale.exporting.huggingface_parity import compare_hub_folder

        source, config = export.source, export.config
        return compare_hub_folder(
            checks,
            decoder_of(self.name, source.network),
            source.tokenizer,
            export.folder,
            source.held_out(config.parity_tokens).tokens,
            config.quantize,
            source.document_mask,
        )

    def finish(self, export: "Export[TextSource]", checks: Checks, report: Report) -> str:
        return os.path.basename(self.digested(export.path(self.file)))

    def readme(self, export: "Export[TextSource]", description: Description, report: Report) -> str:
        from tfscale.exporting.readmes import text_readme

        return text_readme("huggingface.md.j2", export.source, description, report)
