"""`tfscale benchmark`: times an exported file."""

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import new_parser
from tfscale.commands.command import Command
from tfscale.files.json_text import JsonObject
from tfscale.ui.tables import print_figures, print_table, with_unit


def build_parser() -> ArgumentParser:
    """The options of `tfscale benchmark`."""
    parser = new_parser("benchmark", "Times an exported file on this machine.")
    parser.add_argument(
        "target", metavar="FILE.tflite", help="An exported .tflite file or its folder."
    )
    parser.add_argument("--tokens", type=int, default=128, help="Tokens to decode.")
    parser.add_argument("--prompt_tokens", type=int, default=64, help="Tokens of the prompt.")
    parser.add_argument(
        "--repeats", type=int, default=3, help="Timed repetitions; medians are shown."
    )
    parser.add_argument(
        "--threads", type=list[int], default=[1], help="Numbers of CPU threads to time."
    )
    return parser


def run(options: Namespace) -> JsonObject:
    """Returns the timings; with several numbers of threads `by_threads` has all."""
    from tfscale.api import benchmark

    return benchmark(
        options.target,
        tokens=options.tokens,
        prompt_tokens=options.prompt_tokens,
        repeats=options.repeats,
        threads=options.threads,
    )


def show(result: JsonObject) -> None:
    """Prints the figures with units."""
    figures = [with_unit(name, value) for name, value in result.items() if name != "by_threads"]
    print_figures(dict(figures))
    if rows := [
        [with_unit(*figure) for figure in row.items()] for row in result.get("by_threads", [])
    ]:
        print_table([name for name, _ in rows[0]], [[value for _, value in row] for row in rows])


COMMAND = Command("benchmark", "time a .tflite file on this machine", build_parser, run, show)
