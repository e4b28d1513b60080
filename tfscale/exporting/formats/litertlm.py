"""A bundle for LiteRT-LM: the .tflite file and its tokenizer in one file."""

import dataclasses
import os

from tfscale.config import ExportConfig
from tfscale.device.bundle import BundleModel
from tfscale.exporting.formats.tflite import TFLite
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.source import Export, TFLiteSource
from tfscale.files.description import Description
from tfscale.registry import register

BUNDLE = "model.litertlm"


@register
class LiteRTLMBundle(TFLite):
    """model.litertlm; the .tflite file in it is compared before it is bundled."""

    name = "litertlm"
    summary = "the .tflite file with its tokenizer in a bundle for LiteRT-LM (Transformers)"
    made_of = "models that write text"
    takes = frozenset({"text"})
    runtime = "LiteRT-LM"
    # LiteRT-LM calls no signature but its own.
    embeds = False

    def check(self, source: TFLiteSource, config: ExportConfig) -> None:
        super().check(source, config)
        from tfscale.exporting.litertlm import check_bundle

        assert source.tokenizer is not None
        check_bundle(source.network, source.tokenizer)

    def describe(self, export: Export[TFLiteSource]) -> Description:
        described = super().describe(export)
        # Until the bundle is there the folder is that of a .tflite file, and is loaded as one.
        bundled = os.path.exists(export.path(BUNDLE))
        return dataclasses.replace(described, format=self.name) if bundled else described

    def finish(self, export: Export[TFLiteSource], checks: Checks, report: Report) -> str:
        from tfscale.exporting.chat_template import PLAIN_TEXT, bundle_template, misread
        from tfscale.exporting.litertlm import build_bundle, compare_bundle

        export.note("bundle, and compare with the file")
        source, path, bundle = export.source, export.path(self.file), export.path(BUNDLE)
        assert source.tokenizer is not None
        context, template = source.network.config.sequence_length, bundle_template(source.tokenizer)
        build_bundle(path, source.tokenizer, context, bundle, template)
        if template != PLAIN_TEXT:
            reason = misread(source.tokenizer, BundleModel(bundle))
            report["chat_template"] = reason or "as it was"
            if reason:
                export.note(f"leave out the chat template: {reason}")
                build_bundle(path, source.tokenizer, context, bundle)
        compare_bundle(checks, report, export.folder, bundle)
        os.remove(path)
        report["sizes"]["bundle_bytes"] = os.path.getsize(bundle)
        return BUNDLE

    def readme(self, export: Export[TFLiteSource], description: Description, report: Report) -> str:
        from tfscale.exporting.readmes import text_readme

        return text_readme(
            "bundle.md.j2",
            export.source,
            description,
            report,
            chat_template=report.get("chat_template", ""),
        )
