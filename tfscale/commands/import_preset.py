"""`tfscale import`: a preset of keras-hub to a run folder."""

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import new_parser
from tfscale.commands.command import Command
from tfscale.compat.quiet import load_tensorflow
from tfscale.config import Precision
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import print_figures


def build_parser() -> ArgumentParser:
    """The options of `tfscale import`."""
    parser = new_parser(
        "import",
        "Takes weights and tokenizer of a keras-hub decoder. The run evaluates, generates and"
        " exports as it is; to train it on, prepare data with its tokenizer (tfscale prepare"
        " --tokenizer-from) and start from it (tfscale train --start).",
    )
    parser.add_argument(
        "preset", metavar="PRESET", help="Folder of a preset, or a name that keras-hub can fetch."
    )
    parser.add_argument("--output", type=str, required=True, help="Run folder to write.")
    parser.add_argument(
        "--sequence_length",
        type=int,
        default=0,
        help=(
            "Context of the run in tokens; 0 takes all learned positions, or 1,024 with rotary"
            " ones."
        ),
    )
    parser.add_argument(
        "--precision",
        type=Precision,
        default="float32",
        help="Compute type in which it is trained on.",
    )
    parser.add_argument(
        "--stop_token",
        type=list[str],
        default=[],
        help=(
            "Special tokens that end a completion beside the tokenizer's end token, such as"
            " <end_of_turn> (a list, or the option several times)."
        ),
    )
    return parser


def run(options: Namespace) -> JsonObject:
    """Writes the run; returns what it is."""
    load_tensorflow()
    from tfscale.runs.hub import import_

    return import_(
        options.preset,
        options.output,
        sequence_length=options.sequence_length,
        precision=options.precision,
        stop_tokens=options.stop_token,
    )


def show(result: JsonObject) -> None:
    """Prints what was written, and what is missing for a model that was tuned for chats."""
    *figures, (_, turns) = result.items()
    shown = {
        name.replace("_", " "): ", ".join(value) if isinstance(value, list) else value
        for name, value in figures
    }
    if result["start_token"] is None:
        shown["start token"] = "none: a prompt is read as it is"
    print_figures(shown)
    for text in turns:
        print(
            f"If the model was tuned for chats, its answers end with {text}: import it with"
            f" --stop-token '{text}'."
        )


COMMAND = Command(
    "import",
    "a preset of keras-hub (GPT-2, Llama, Gemma, ...) -> a run folder",
    build_parser,
    run,
    show,
)
