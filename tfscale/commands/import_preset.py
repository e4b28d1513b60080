"""`tfscale import`: a preset of keras-hub to a run folder."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import new_parser, parse_words
from tfscale.compat.quiet import load_tensorflow
from tfscale.errors import ConfigError
from tfscale.terminal import print
from tfscale.ui.tables import print_figures

SUMMARY = "a preset of keras-hub (GPT-2, Llama, Gemma, ...) -> a run folder"


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
        type=str,
        default="float32",
        help="Compute type in which it is trained on: float32, mixed_float16 or mixed_bfloat16.",
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


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale import`."""
    options = parse_words(build_parser(), words)
    if options.sequence_length < 0:
        raise ConfigError(
            "--sequence-length: expected 0 (the model's) or more; received"
            f" {options.sequence_length}"
        )
    known = ("float32", "mixed_float16", "mixed_bfloat16")
    if options.precision not in known:
        raise ConfigError(
            f"--precision: expected one of {', '.join(known)}; received {options.precision!r}"
        )
    return options


def run(options: Namespace) -> dict[str, Any]:
    """Writes the run; returns what it is."""
    load_tensorflow()
    from tfscale.runs.hub import import_keras_hub

    return import_keras_hub(
        options.preset,
        options.output,
        sequence_length=options.sequence_length,
        precision=options.precision,
        stop_tokens=options.stop_token,
    )


def show(result: dict[str, Any]) -> None:
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
