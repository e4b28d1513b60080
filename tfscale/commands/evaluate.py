"""`tfscale evaluate`: perplexity and bits per byte."""

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import TARGET, new_parser
from tfscale.commands.command import Command
from tfscale.commands.scores import score_figures
from tfscale.compat.quiet import load_tensorflow
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import number, print_figures, print_table


def build_parser() -> ArgumentParser:
    """The options of `tfscale evaluate`."""
    parser = new_parser("evaluate", "Perplexity and bits per byte of a run or of an exported file.")
    parser.add_argument("target", metavar="RUN_DIR|FILE.tflite", help=TARGET)
    parser.add_argument(
        "--text",
        type=list[str],
        default=[],
        help="Text files to score, each one document; labelled examples for a task.",
    )
    parser.add_argument(
        "--data", type=str, help="Data folder to score a split of; a run's own if left out."
    )
    parser.add_argument("--split", type=str, default="validation", help="Split of the data folder.")
    parser.add_argument(
        "--slice_by", type=str, default="", help="Field of the examples: a score per value."
    )
    parser.add_argument(
        "--text_field", type=str, default="text", help="With it, the field that holds the text."
    )
    parser.add_argument(
        "--output",
        type=str,
        default="",
        help="With --slice-by, an HTML file to write: table and picture of the groups.",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; no effect on a run.")
    return parser


def run(options: Namespace) -> JsonObject:
    """Scores the text or the split; see `tfscale.evaluation.evaluate.evaluate_run` for the
    figures."""
    load_tensorflow()
    from tfscale.api import evaluate

    return evaluate(
        options.target,
        text=options.text,
        data=options.data,
        split=options.split,
        threads=options.threads,
        slice_by=options.slice_by,
        text_field=options.text_field,
        output=options.output,
    )


def show(result: JsonObject) -> None:
    """Prints the figures."""
    if "groups" in result:
        counted = any("unknown_share" in group for group in result["groups"].values())
        rows = [
            [
                name,
                number(g["examples"]),
                number(g["value"]),
                f"{number(g['low'])} to {number(g['high'])}",
                *([f"{100 * g['unknown_share']:.3g} %"] if counted else []),
            ]
            for name, g in result["groups"].items()
        ]
        columns = ["group", "examples", result["metric"].replace("_", " "), "95 % of samples"]
        print_table([*columns, *(["unknown tokens"] if counted else [])], rows)
        gap = result["gap"]
        print(
            f"largest gap: {number(gap['value'])} ({number(gap['low'])} to {number(gap['high'])}), "
            f"{gap['highest']} above {gap['lowest']}"
        )
        for label, value in result.get("equalized_odds", {}).items():
            shown = "no two groups have its rates" if value is None else number(value)
            print(f"equalized odds difference of {label}: {shown}")
        return
    print_figures(score_figures(result))


COMMAND = Command(
    "evaluate", "perplexity and bits per byte of a run or a .tflite file", build_parser, run, show
)
