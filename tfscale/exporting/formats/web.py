"""A web page that runs the .tflite file in the browser."""

import dataclasses

from tfscale.config import ExportConfig
from tfscale.exporting.formats.tflite import TFLite
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.source import Export, TFLiteSource
from tfscale.files.description import Description
from tfscale.registry import register


@register
class WebPage(TFLite):
    """model.tflite with a page that runs it by LiteRT.js."""

    name = "web"
    summary = "the .tflite file with a page that runs it in the browser"
    made_of = "models that write text"
    takes = frozenset({"text"})
    runtime = "the browser"
    sections = ("web.md.j2",)

    def check(self, source: TFLiteSource, config: ExportConfig) -> None:
        super().check(source, config)
        from tfscale.exporting.web import check_web

        assert source.tokenizer is not None
        check_web(source.tokenizer)

    def describe(self, export: Export[TFLiteSource]) -> Description:
        return dataclasses.replace(super().describe(export), format=self.name)

    def finish(self, export: Export[TFLiteSource], checks: Checks, report: Report) -> str:
        from tfscale.exporting.web import write_page

        assert export.source.tokenizer is not None
        export.note("page")
        write_page(export.folder, export.source.tokenizer)
        return self.file
