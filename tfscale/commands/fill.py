"""`tfscale fill`: the tokens that a cloze model puts into a gap."""

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import TARGET, new_parser
from tfscale.commands.command import Command
from tfscale.files.json_text import JsonObject
from tfscale.ui.tables import number, print_table


def build_parser() -> ArgumentParser:
    """The options of `tfscale fill`."""
    parser = new_parser(
        "fill",
        "Fills the gap in a text by a run of the family bilstm or bert, or the exported file of a"
        " bilstm.",
    )
    parser.add_argument("target", metavar="RUN_DIR|FILE.tflite", help=TARGET)
    parser.add_argument(
        "--text", type=str, required=True, help="Text with the gap, as ___ (three underscores)."
    )
    parser.add_argument("--count", type=int, default=5, help="How many tokens to show.")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; no effect on a run.")
    return parser


def run(options: Namespace) -> JsonObject:
    """Returns `fillings`, each with `text` and `probability`."""
    from tfscale.api import fill

    found = fill(options.target, text=options.text, count=options.count, threads=options.threads)
    return {"text": options.text, "fillings": [vars(filling) for filling in found]}


def show(result: JsonObject) -> None:
    """Prints the tokens with their probabilities."""
    rows = [
        [repr(filling["text"]), number(filling["probability"])] for filling in result["fillings"]
    ]
    print_table(["token", "probability"], rows)


COMMAND = Command(
    "fill",
    "the most likely tokens for a gap in a text, by a bidirectional model",
    build_parser,
    run,
    show,
)
