"""`tfscale export`: a run to a file for the device."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import add_config, build_config, new_parser, parse_words
from tfscale.compat.quiet import load_tensorflow
from tfscale.config import ExportConfig
from tfscale.config.refused import explain_refusal
from tfscale.terminal import print
from tfscale.ui.tables import number, print_table, with_unit

if TYPE_CHECKING:
    from tfscale.exporting.format import Report

SUMMARY = "a run -> a file for the device, with proof that it computes the same"


def build_parser() -> ArgumentParser:
    """The options of `tfscale export`."""
    parser = new_parser(
        "export",
        "A trained run to a file for LiteRT, LiteRT-LM or TensorFlow that is proven to compute the"
        " same.",
    )
    parser.add_argument(
        "run_dir", metavar="RUN_DIR", help="Folder that tfscale train or finetune wrote."
    )
    add_config(parser, ExportConfig)
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale export`."""
    for option, value in zip(words, [*words[1:], ""], strict=True):
        if option.partition("=")[0] == "--quantize":
            explain_refusal(option.partition("=")[2] or value)
    return parse_words(build_parser(), words)


def run(options: Namespace) -> dict[str, Any]:
    """Writes the export folder; returns its parity report, and where it is."""
    return {**_export(options), "output": options.output}


def _export(options: Namespace) -> "Report":
    config = build_config(ExportConfig, options)

    def note(stage: str) -> None:
        print(stage, file=sys.stderr)

    load_tensorflow()
    from tfscale.exporting.targets import export_folder

    return export_folder(options.run_dir, config, note)


def show(result: dict[str, Any]) -> None:
    """Prints the checks of the parity report, and where the file is, its size, and what it cost in
    perplexity."""
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
    for name in ("perplexity", "pseudo_perplexity"):
        if name in result:
            before, *_, after = (figure for figure in result[name].values() if figure is not None)
            print(f"{name.replace('_', '-')} {number(before)} before, {number(after)} in the file")
