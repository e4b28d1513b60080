"""`tfscale quickstart`: everything in one command."""

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import new_parser
from tfscale.commands.command import Command
from tfscale.compat.quiet import load_tensorflow
from tfscale.files.json_text import JsonObject


def build_parser() -> ArgumentParser:
    """The options of `tfscale quickstart`."""
    parser = new_parser(
        "quickstart",
        "Everything, from the source of the Python standard library to a .tflite file that"
        " writes Python.",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=8.0,
        help="Time for all of it; training takes what the other stages do not.",
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


def run(options: Namespace) -> JsonObject:
    """Runs all stages; returns the figures of quickstart.json."""
    load_tensorflow()
    from tfscale.workflows.quickstart import quickstart

    return quickstart(
        options.output, minutes=options.minutes, seed=options.seed, steps=options.steps
    )


def show(result: JsonObject) -> None:
    """Prints the table of the figures."""
    from tfscale.workflows.quickstart import show_table

    show_table(result)


COMMAND = Command(
    "quickstart",
    "everything on the Python standard library, in minutes",
    build_parser,
    run,
    show,
)
