"""`tfscale quickstart`: the whole road in one command."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import new_parser, parse_words
from tfscale.compat.quiet import load_tensorflow
from tfscale.errors import ConfigError

SUMMARY = "the whole road on the Python standard library, in minutes"


def build_parser() -> ArgumentParser:
    """The options of `tfscale quickstart`."""
    parser = new_parser(
        "quickstart",
        "The whole road, from the source of the Python standard library to a .tflite file that"
        " writes Python.",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=8.0,
        help="Time for all of it; what is left goes to training.",
    )
    parser.add_argument(
        "--output", type=str, default="savedmodels/quickstart", help="Folder to write."
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=0,
        help="Optimizer steps, whatever they take; 0 makes them from --minutes.",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="Seed of the data, the weights and the order of training.",
    )
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale quickstart`."""
    options = parse_words(build_parser(), words)
    if not 0 < options.minutes <= 1440:
        raise ConfigError(f"minutes={options.minutes!r} is out of range; expected above 0 to 1440")
    if options.steps < 0:
        raise ConfigError(
            f"steps={options.steps!r} is out of range; expected 0 (from --minutes) or more"
        )
    return options


def run(options: Namespace) -> dict[str, Any]:
    """Goes the road; returns the figures of quickstart.json."""
    load_tensorflow()
    from tfscale.workflows.quickstart import quickstart

    return quickstart(
        options.output, minutes=options.minutes, seed=options.seed, steps=options.steps
    )


def show(result: dict[str, Any]) -> None:
    """Prints the table of the figures."""
    from tfscale.workflows.quickstart import show_table

    show_table(result)
