"""`tfscale swap`: how much likelier texts become by one word in the place of another."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands import target
from tfscale.commands.arguments import add_config, build_config, new_parser, parse_words
from tfscale.config import to_dict
from tfscale.config.tasks import SwapConfig
from tfscale.terminal import print
from tfscale.ui.tables import number, print_table

SUMMARY = (
    "how much likelier a model finds texts with one word than with another, such as he and she"
)


def build_parser() -> ArgumentParser:
    """The options of `tfscale swap`."""
    parser = new_parser(
        "swap", "Log-likelihood ratios of texts with one word of a pair in the place of the other."
    )
    parser.add_argument("target", metavar="RUN_DIR|FILE.tflite", help=target.HELP)
    add_config(parser, SwapConfig)
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale swap`."""
    return parse_words(build_parser(), words)


def run(options: Namespace) -> dict[str, Any]:
    """Returns a ratio with its interval for each pair."""
    config = build_config(SwapConfig, options)
    target.start_for(options.target)
    from tfscale import api

    return api.swap(options.target, **to_dict(config))


def show(result: dict[str, Any]) -> None:
    """Prints a row for each pair, and the texts with the largest ratios."""
    rows = [
        [
            f"{pair['a']} / {pair['b']}",
            number(pair["texts"]),
            number(pair["mean"]),
            f"{number(pair['low'])} to {number(pair['high'])}" if pair["texts"] else "-",
            ", ".join(pair["unknown"]),
        ]
        for pair in result["pairs"]
    ]
    print_table(
        ["pair", "texts", result["metric"].replace("_", " "), "95 % of samples", "unknown words"],
        rows,
    )
    for pair in result["pairs"]:
        for one in pair["largest"]:
            print(f"{pair['a']} / {pair['b']}  {one['ratio']:+.3f}  {one['text']}")
