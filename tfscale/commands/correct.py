"""`tfscale correct`: words that a cloze model finds misspelt."""

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import TARGET, new_parser
from tfscale.commands.command import Command
from tfscale.config import EDIT_COST
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import number, print_table


def build_parser() -> ArgumentParser:
    """The options of `tfscale correct`."""
    parser = new_parser(
        "correct",
        "Finds words one letter away from one that makes the text much more likely, by a bilstm or"
        " bert.",
    )
    parser.add_argument("target", metavar="RUN_DIR|FILE.tflite", help=TARGET)
    parser.add_argument("--text", type=str, required=True, help="A sentence or two.")
    parser.add_argument(
        "--edit_cost",
        type=float,
        default=EDIT_COST,
        help="Nats by which the text must become more likely.",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; no effect on a run.")
    return parser


def run(options: Namespace) -> JsonObject:
    """Returns `corrections` and the `corrected` text."""
    from tfscale.api import correct

    found = correct(
        options.target, text=options.text, edit_cost=options.edit_cost, threads=options.threads
    )
    corrected, end = "", 0
    for one in found:
        corrected += options.text[end : one.start] + one.replacement
        end = one.start + len(one.word)
    return {
        "corrections": [vars(one) for one in found],
        "corrected": corrected + options.text[end:],
    }


def show(result: JsonObject) -> None:
    """Prints the corrections, and the text with them."""
    if result["corrections"]:
        rows = [
            [one["word"], one["replacement"], number(one["gain"])] for one in result["corrections"]
        ]
        print_table(["word", "meant", "gain (nats)"], rows)
    print(result["corrected"])


COMMAND = Command(
    "correct", "words that are probably misspelt, by a bidirectional model", build_parser, run, show
)
