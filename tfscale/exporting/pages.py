"""report.html of an export of a network."""

import os
from collections.abc import Sequence

from tfscale.exporting.readmes import parameter_count
from tfscale.exporting.report import Report
from tfscale.exporting.source import Source
from tfscale.files.description import Description
from tfscale.files.paths import read_json_lines
from tfscale.ui.report import Table, render_report


def write_text_report(
    folder: str, source: Source, runtime: str, description: Description, report: Report
) -> None:
    """Writes report.html.

    Args:
        folder: the export folder.
        source: what was exported.
        runtime: what runs the file, in words.
        description: the content of model.json.
        report: that of parity.json.
    """
    totals: dict[str, int] = {}
    for counts in report.get("operations", {}).values():
        for name, number in counts.items():
            totals[name] = totals.get(name, 0) + number
    operations: Sequence[tuple[str, int]] = sorted(totals.items(), key=lambda item: -item[1])
    tables: list[Table] = [
        ("Export", ("", ""), _rows(report, description, parameter_count(source))),
        ("Operations", ("operation", "count"), operations),
        ("Made with", ("package", "version"), list(report["versions"].items())),
    ]
    greedy = report.get("greedy", {"prompt": "", "file": ""})
    history = os.path.join(source.directory, "history.jsonl") if source.directory else ""
    title = source.title or description.family.capitalize()
    render_report(
        os.path.join(folder, "report.html"),
        f"{title} for {runtime}, {description.quantize} weights",
        [table for table in tables if table[2]],
        history=read_json_lines(history) if history else [],
        samples=[(greedy["prompt"], greedy["file"])] if greedy["prompt"] else [],
        checks=report["checks"],
    )


def _rows(report: Report, description: Description, parameters: int) -> list[tuple[str, str]]:
    """Returns the rows of the first table, as far as the report has their figures."""
    sizes = report["sizes"]
    rows = [("Parameters", f"{parameters:,}"), ("Weights in the file", description.quantize)]
    # A model that only counts or looks up has no weights.
    if weights := sizes.get("float32_weight_bytes"):
        fraction = sizes["file_bytes"] / weights
        rows.append(
            ("File", f"{sizes['file_bytes']:,} bytes ({fraction:.3f} of the weights in float32)")
        )
    if "gzip_bytes" in sizes:
        rows.append(("File, gzip", f"{sizes['gzip_bytes']:,} bytes"))
    if "bundle_bytes" in sizes:
        rows.append(("Bundle", f"{sizes['bundle_bytes']:,} bytes"))
    if perplexity := report.get("perplexity"):
        rows += [
            ("Perplexity in Keras", f"{perplexity['keras']:.4f}"),
            ("Perplexity of the file", f"{perplexity['file']:.4f}"),
        ]
    if held_out := report.get("held_out"):
        counted = held_out.get("unknown_tokens")
        unknown = f" ({counted:,} of them unknown)" if counted else ""
        rows.append(("Held-out tokens", f"{held_out['tokens']:,}{unknown}, {held_out['source']}"))
    if compared := report.get("compared_on"):
        rows.append(("Compared on", f"{compared['examples']:,} rows of {compared['source']}"))
    rows += [
        (f"{measure.replace('_', ' ').capitalize()} of {name}, {whose}", f"{figure:.4g}")
        for name, measures in report.get("quality", {}).items()
        for measure, figures in measures.items()
        for whose, figure in figures.items()
    ]
    if speed := report.get("speed"):
        decode, prompt = speed["decode_tokens_per_second"], speed["prefill_tokens_per_second"]
        if decode:  # A context of one token is the prompt's.
            figure = f"{decode:,.0f} tokens/s, {speed['threads']} thread(s)"
            rows.append(("Decode on this machine", figure))
        rows.append(("Prompt on this machine", f"{prompt:,.0f} tokens/s"))
    return rows
