"""A GGUF file, which llama.cpp runs, and with it Ollama, LM Studio and others."""

import dataclasses
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
class GGUF(ExportFormat["TextSource"]):
    """model.gguf: float32, float16 (F16), or int8 in blocks of 32 weights (llama.cpp's Q8_0)."""

    name = "gguf"
    summary = "a file for llama.cpp, of Llama, Qwen, Gemma, Phi, SmolLM and GPT-2; int8 is Q8_0"
    made_of = "Transformers that write text"
    takes = frozenset({"text"})
    recipes = ("none", "float16", "int8")
    file = "model.gguf"
    converting = "write"
    runtime = "llama.cpp"

    def check(self, source: "TextSource", config: ExportConfig) -> None:
        super().check(source, config)
        from tfscale.exporting.decoders import decoder_of
        from tfscale.exporting.llama_cpp.architectures import architecture_of
        from tfscale.exporting.llama_cpp.vocabulary import vocabulary_entries
        from tfscale.exporting.llama_cpp.writing import import_gguf
        from tfscale.text.tokenizers.hub_files import chat_templates

        import_gguf()
        architecture_of(decoder_of(self.name, source.network).config)
        vocabulary_entries(source.tokenizer)
        chat_templates(source.tokenizer)

    def write(self, export: "Export[TextSource]") -> None:
        from tfscale.exporting.decoders import decoder_of
        from tfscale.exporting.llama_cpp.architectures import architecture_of
        from tfscale.exporting.llama_cpp.vocabulary import vocabulary_entries
        from tfscale.exporting.llama_cpp.writing import write_gguf
        from tfscale.text.tokenizers.hub_files import chat_templates

        network = decoder_of(self.name, export.source.network)
        write_gguf(
            network,
            architecture_of(network.config),
            vocabulary_entries(export.source.tokenizer),
            export.config.quantize,
            export.path(self.file),
            chat_templates(export.source.tokenizer),
        )

    def describe(self, export: "Export[TextSource]") -> Description:
        from tfscale.exporting.decoders import decoder_of
        from tfscale.exporting.llama_cpp.architectures import architecture_of

        kind = architecture_of(decoder_of(self.name, export.source.network).config)
        return dataclasses.replace(super().describe(export), more={"architecture": kind.name})

    def compare(self, export: "Export[TextSource]", checks: Checks) -> Report:
        from tfscale.exporting.decoders import decoder_of
        from tfscale.exporting.llama_cpp.comparing import compare_gguf

        source, config = export.source, export.config
        return compare_gguf(
            checks,
            decoder_of(self.name, source.network),
            source.tokenizer,
            export.path(self.file),
            source.held_out(config.parity_tokens).tokens,
            config.quantize,
            source.document_mask,
        )

    def readme(self, export: "Export[TextSource]", description: Description, report: Report) -> str:
        from tfscale.exporting.llama_cpp.writing import STORED_AS
        from tfscale.exporting.readmes import text_readme

        return text_readme(
            "gguf.md.j2",
            export.source,
            description,
            report,
            stored_as=STORED_AS[export.config.quantize],
            composes=export.source.tokenizer.composes,
        )
