"""`tfscale export`: a run to a file for the device."""

from jsonargparse import Namespace

from tfscale.commands.command import Command
from tfscale.commands.parser import Word, build_config
from tfscale.config import ExportConfig
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print, to_stderr
from tfscale.ui.tables import number, print_table, with_unit


def run(options: Namespace) -> JsonObject:
    """Writes the export folder; returns its parity report, and where it is."""
    config = build_config(ExportConfig, options)
    from tfscale.api import export

    return {**export(options.run_dir, config, progress=to_stderr), "output": options.output}


def show(result: JsonObject) -> None:
    """Prints the checks of the parity report, and the file's size and loss of perplexity."""
    rows = [
        [
            check["name"],
            number(check["value"]),
            number(check["limit"]),
            "measured" if check["limit"] is None else number(check["passed"]),
        ]
        for check in result["checks"]
    ]
    print_table(["check", "value", "limit", "passed"], rows)
    sizes = result["sizes"]
    _, size = with_unit("file_bytes", sizes.get("bundle_bytes", sizes["file_bytes"]))
    print(f"{result['output']}: {size}; README.md in it says how to run it")
    if "compared_by" in result:
        print(f"compared by {result['compared_by']}")
    for name in ("perplexity", "pseudo_perplexity"):
        if name in result:
            before, *_, after = (figure for figure in result[name].values() if figure is not None)
            print(f"{name.replace('_', '-')} {number(before)} before, {number(after)} in the file")


COMMAND = Command(
    name="export",
    description="Writes a trained run as a file for LiteRT, LiteRT-LM, TensorFlow or other"
    " programs, and checks that it computes the same.",
    takes=(
        Word("run_dir", "RUN_DIR", "Folder that tfscale train or finetune wrote."),
        ExportConfig,
    ),
    run=run,
    show=show,
)
