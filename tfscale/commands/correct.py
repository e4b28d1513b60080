"""`tfscale correct`: words that a cloze model finds misspelt."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands import target
from tfscale.commands.arguments import new_parser, parse_words
from tfscale.config import EDIT_COST
from tfscale.terminal import print
from tfscale.ui.tables import number, print_table

SUMMARY = "words that are probably misspelt, by a bidirectional model"


def build_parser() -> ArgumentParser:
    """The options of `tfscale correct`."""
    parser = new_parser(
        "correct",
        "Finds words one letter away from one that makes the text much more likely, by a bilstm or"
        " bert.",
    )
    parser.add_argument("target", metavar="RUN_DIR|FILE.tflite", help=target.HELP)
    parser.add_argument("--text", type=str, required=True, help="A sentence or two.")
    parser.add_argument(
        "--edit_cost",
        type=float,
        default=EDIT_COST,
        help="Nats by which the text must become more likely.",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; no effect on a run.")
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale correct`."""
    return parse_words(build_parser(), words)


def run(options: Namespace) -> dict[str, Any]:
    """Returns `corrections` and the `corrected` text."""
    target.start_for(options.target)
    from tfscale import api

    found = api.correct(
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


def show(result: dict[str, Any]) -> None:
    """Prints the corrections, and the text with them."""
    if result["corrections"]:
        rows = [
            [one["word"], one["replacement"], number(one["gain"])] for one in result["corrections"]
        ]
        print_table(["word", "meant", "gain (nats)"], rows)
    print(result["corrected"])
