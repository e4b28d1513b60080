"""`tfscale trim`: a run with fewer tokens."""

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import new_parser
from tfscale.commands.command import Command
from tfscale.compat.quiet import load_tensorflow
from tfscale.files.json_text import JsonObject
from tfscale.ui.tables import print_figures


def build_parser() -> ArgumentParser:
    """The options of `tfscale trim`."""
    parser = new_parser(
        "trim",
        "Takes tokens that a sample of the text in question never has out of a run's SentencePiece"
        " (unigram) tokenizer and its tables. Every text still has ids. The new run evaluates and"
        " exports as it is; to train it on, prepare data with its tokenizer (tfscale prepare"
        " --tokenizer-from).",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="Run folder that tfscale train wrote.")
    parser.add_argument(
        "--text", type=list[str], required=True, help="Files of the text that the model is for."
    )
    parser.add_argument("--output", type=str, required=True, help="Run folder to write.")
    parser.add_argument(
        "--min_count", type=int, default=1, help="Tokens that occur less often are removed."
    )
    return parser


def run(options: Namespace) -> JsonObject:
    """Writes the run; returns the sizes before and after."""
    load_tensorflow()
    from tfscale.compress.vocabulary import trim

    return trim(options.run_dir, options.text, options.output, options.min_count)


def show(result: JsonObject) -> None:
    """Prints the sizes."""
    print_figures(
        {name.replace("_", " "): value for name, value in result.items() if value is not None}
    )


COMMAND = Command(
    "trim", "a run -> the same with only the tokens that a text needs", build_parser, run, show
)
