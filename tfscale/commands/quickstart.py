"""`tfscale quickstart`: everything in one command."""

from jsonargparse import Namespace

from tfscale.commands.command import Command, values_of
from tfscale.commands.parser import Option
from tfscale.compat.quiet import load_tensorflow
from tfscale.files.json_text import JsonObject


def run(options: Namespace) -> JsonObject:
    """Runs all stages; returns the figures of quickstart.json."""
    load_tensorflow()
    from tfscale.workflows.quickstart import quickstart

    return quickstart(**values_of(options))


def show(result: JsonObject) -> None:
    """Prints the table of the figures."""
    from tfscale.workflows.quickstart_table import show_table

    show_table(result)


COMMAND = Command(
    name="quickstart",
    description="Everything, from the source of the Python standard library to a .tflite file that"
    " writes Python.",
    takes=(
        Option(
            "minutes",
            float,
            "Time for all of it; training takes what the other stages do not.",
            8.0,
        ),
        Option("output", str, "Folder to write.", "savedmodels/quickstart"),
        Option(
            "steps",
            int,
            "Optimizer steps, whatever they take; 0 makes them from --minutes.",
            0,
        ),
        Option("seed", int, "Seed of the data, the weights and the order of training.", 0),
    ),
    run=run,
    show=show,
)
