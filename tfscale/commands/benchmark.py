"""`tfscale benchmark`: times an exported file."""

from jsonargparse import Namespace

from tfscale.commands.command import Command, values_of
from tfscale.commands.parser import Option, Word
from tfscale.files.json_text import JsonObject
from tfscale.ui.tables import print_figures, print_table, with_unit


def run(options: Namespace) -> JsonObject:
    """Returns the timings; with several numbers of threads `by_threads` has all."""
    from tfscale.api import benchmark

    return benchmark(**values_of(options))


def show(result: JsonObject) -> None:
    """Prints the figures with units."""
    figures = [with_unit(name, value) for name, value in result.items() if name != "by_threads"]
    print_figures(dict(figures))
    if rows := [
        [with_unit(*figure) for figure in row.items()] for row in result.get("by_threads", [])
    ]:
        print_table([name for name, _ in rows[0]], [[value for _, value in row] for row in rows])


COMMAND = Command(
    name="benchmark",
    description="Times an exported file on this machine.",
    takes=(
        Word("target", "FILE.tflite", "An exported .tflite file or its folder."),
        Option("tokens", int, "Tokens to decode.", 128),
        Option("prompt_tokens", int, "Tokens of the prompt.", 64),
        Option("repeats", int, "Timed repetitions; medians are shown.", 3),
        Option("threads", list[int], "Numbers of CPU threads to time.", [1]),
    ),
    run=run,
    show=show,
)
