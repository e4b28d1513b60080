"""`tfscale trim`: a run with fewer tokens."""

from jsonargparse import Namespace

from tfscale.commands.command import Command
from tfscale.commands.parser import NEEDED, RUN_DIR, Option
from tfscale.compat.quiet import load_tensorflow
from tfscale.files.json_text import JsonObject
from tfscale.ui.tables import print_figures


def run(options: Namespace) -> JsonObject:
    """Writes the run; returns the sizes before and after."""
    load_tensorflow()
    from tfscale.compress.vocabulary import trim

    return trim(options.run_dir, options.text, options.output, options.min_count)


def show(result: JsonObject) -> None:
    """Prints the sizes."""
    print_figures(
        {name.replace("_", " "): value for name, value in result.items() if value is not None}
    )


COMMAND = Command(
    name="trim",
    description="Removes the tokens that a sample of text does not have from a run's SentencePiece"
    " (unigram) tokenizer and from its embedding tables. Any text can still be encoded. The new run"
    " can be evaluated and exported; to train it further, prepare data with its tokenizer (tfscale"
    " prepare --tokenizer-from).",
    takes=(
        RUN_DIR,
        Option("text", list[str], "Files of the text that the model is for.", NEEDED),
        Option("output", str, "Run folder to write.", NEEDED),
        Option("min_count", int, "Tokens that occur less often are removed.", 1),
    ),
    run=run,
    show=show,
)
