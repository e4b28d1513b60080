"""`tfscale import`: a preset of keras-hub, or a folder of Hugging Face, to a run folder."""

from jsonargparse import Namespace

from tfscale.commands.command import Command
from tfscale.commands.parser import NEEDED, Option, Word
from tfscale.compat.quiet import load_tensorflow
from tfscale.config import Precision
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import print_figures


def run(options: Namespace) -> JsonObject:
    """Writes the run; returns what it is."""
    load_tensorflow(gives_memory_back=True)
    from tfscale.runs.hub import import_

    return import_(
        options.preset,
        options.output,
        sequence_length=options.sequence_length,
        precision=options.precision,
        stop_tokens=options.stop_token,
        tokenizer_from=options.tokenizer_from,
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
    name="import",
    description="Takes weights and tokenizer of a keras-hub decoder or of a Hugging Face folder."
    " The run evaluates, generates and exports as it is; to train it on, prepare data with its"
    " tokenizer (tfscale prepare --tokenizer-from) and start from it (tfscale train --start).",
    takes=(
        Word(
            "preset",
            "PRESET",
            "Folder of a keras-hub preset or of Hugging Face, hf://OWNER/NAME, or a name that"
            " keras-hub can fetch.",
        ),
        Option("output", str, "Run folder to write.", NEEDED),
        Option(
            "sequence_length",
            int,
            "Context of the run in tokens; 0 takes all learned positions, or 1,024 with rotary"
            " ones.",
            0,
        ),
        Option("precision", Precision, "Compute type in which it is trained on.", "float32"),
        Option(
            "stop_token",
            list[str],
            "Special tokens that end a completion beside the tokenizer's end token, such as"
            " <end_of_turn> (a list, or the option several times).",
            [],
        ),
        Option(
            "tokenizer_from",
            str,
            "Hugging Face folder or tokenizer.json, or SentencePiece model, that the run gets as it"
            " is instead of keras-hub's.",
            "",
        ),
    ),
    run=run,
    show=show,
)
