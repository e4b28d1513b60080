"""Exports a run of a network."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfscale.config import ExportConfig
from tfscale.exporting.network import network_source
from tfscale.exporting.report import Report
from tfscale.exporting.writer import export_source

if TYPE_CHECKING:
    from tfscale.runs.folder import Run


def export_run(
    run: "Run",
    config: ExportConfig,
    held_out: Sequence[int] | None = None,
    note: Callable[[str], None] | None = None,
) -> Report:
    """Writes the export folder of a run; see `tfscale.exporting.writer.export_source`.

    Args:
        run: a trained run, as `tfscale.runs.folder.load_run` gives it.
        config: output folder, format, recipe and how much is compared.
        held_out: token ids to compare on; see `tfscale.exporting.network.network_source`.
        note: receives the name of each stage.

    Example:
        export_run(load_run("run"), ExportConfig(output="export", quantize="int8"))
    """
    return export_source(network_source(run, held_out), config, note)
