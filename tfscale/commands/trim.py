"""`tfscale trim`: a run with fewer tokens."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import new_parser, parse_words
from tfscale.compat.quiet import load_tensorflow
from tfscale.ui.tables import print_figures

SUMMARY = "a run -> the same with only the tokens that a text needs"


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
        "--min_count", type=int, default=1, help="Tokens that occur less often leave."
    )
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale trim`."""
    return parse_words(build_parser(), words)


def run(options: Namespace) -> dict[str, Any]:
    """Writes the run; returns the sizes before and after."""
    load_tensorflow()
    from tfscale.compress.vocabulary import trim_run

    return trim_run(options.run_dir, options.text, options.output, options.min_count)


def show(result: dict[str, Any]) -> None:
    """Prints the sizes."""
    print_figures(
        {name.replace("_", " "): value for name, value in result.items() if value is not None}
    )
