"""Writes an export folder: the one sequence of steps that every format goes through.

check -> claim the folder -> temporary folder -> tokenizer -> preparation -> file -> model.json ->
compare -> last changes -> parity.json -> README.md and report -> rename. A step that fails leaves
an earlier export as it was, and nothing else behind.
"""

import dataclasses
from collections.abc import Callable

from tfscale.config import ExportConfig
from tfscale.exporting.format import ExportFormat
from tfscale.exporting.pages import write_text_report
from tfscale.exporting.report import Checks, Report, require
from tfscale.exporting.source import Export, Source
from tfscale.files.description import Description
from tfscale.files.folders import atomic_directory
from tfscale.files.model_folders import claim_export
from tfscale.files.paths import atomic_write, sha256_file, write_json
from tfscale.registry import FORMATS


def export_source(
    source: Source, config: ExportConfig, note: Callable[[str], None] | None = None
) -> Report:
    """Writes the export folder of a model, after the file has passed its comparison with it.

    Args:
        source: what to export; see `tfscale.exporting.source`.
        config: output folder, format, recipe and how much is compared.
        note: receives the name of each stage.

    Returns:
        The parity report.

    Raises:
        ConfigError: a format or a recipe that is not for this model.
        ExportError: the model cannot be converted, or the file fails a check; nothing was written.
        DataError: the output folder holds something that is not an export.

    Example:
        export_source(network_source(run), ExportConfig(output="export", quantize="int8"))
    """
    note = note or (lambda stage: None)
    export_format: ExportFormat[Source] = FORMATS.get(config.format)()
    export_format.check(source, config)
    claim_export(config.output)
    source.check(config)
    with atomic_directory(config.output) as folder:
        export = Export(source, config, folder, note)
        if source.tokenizer is not None:
            source.tokenizer.save(export.path("tokenizer"), originals=False)
        source.prepare(config, note)
        note(export_format.converting)
        export_format.write(export)
        description = _describe(export_format, export, export_format.file)
        checks = Checks()
        note(export_format.comparing)
        entries = export_format.compare(export, checks)
        require(checks.report(config.quantize, entries))
        file = export_format.finish(export, checks, entries)
        report = checks.report(config.quantize, entries)
        require(report)
        if file != export_format.file:
            description = _describe(export_format, export, file)
        report["format"], report["output"] = config.format, config.output
        source.complete(report, config)
        write_json(export.path("parity.json"), report)
        text = export_format.readme(export, description, report)
        with atomic_write(export.path("README.md"), "w") as readme:
            readme.write(text)
        if source.has_report:
            note("write the report")
            runtime = export_format.runtime or export_format.name
            write_text_report(folder, source, runtime, description, report)
    return report


def _describe(
    export_format: ExportFormat[Source], export: Export[Source], file: str
) -> Description:
    """Writes model.json for the file of this name; returns its content."""
    source, path = export.source, export.path(file)
    described = export_format.describe(export)
    tokenizer = source.tokenizer
    description = dataclasses.replace(
        described,
        format=described.format or export_format.name,
        quantize=export.config.quantize,
        tokenizer=None if tokenizer is None else "tokenizer",
        tokenizer_digest=None if tokenizer is None else tokenizer.digest,
        file=file,
        sha256=sha256_file(export_format.digested(path)),
    )
    return description.write(export.folder)
