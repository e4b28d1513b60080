"""`tfscale embed`: a vector for each text."""

from typing import Literal

from jsonargparse import Namespace

from tfscale.commands.command import Command, values_of
from tfscale.commands.parser import NEEDED, TARGET, Option
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print


def run(options: Namespace) -> JsonObject:
    """Writes the vectors; the result has their number and width."""
    from tfscale.api import embed

    vectors = embed(**values_of(options))
    texts, width = vectors.shape
    return {
        "output": options.output,
        "texts": texts,
        "width": width,
        "pooling": options.pooling,
    }


def show(result: JsonObject) -> None:
    """Prints where the vectors are, and their shape."""
    print(f"{result['output']}: float32 ({result['texts']}, {result['width']})")


COMMAND = Command(
    name="embed",
    description="Writes a vector for each text, from the hidden states of a run or of a file that"
    " was exported with --embedding true.",
    takes=(
        TARGET,
        Option(
            "text",
            list[str],
            "Files of texts: records with a field of text, or .txt with a text on each line.",
            NEEDED,
        ),
        Option("output", str, "File to write, .npy: float32 (texts, width).", NEEDED),
        Option(
            "pooling",
            Literal["mean", "last"],
            "States of a text: the mean over its tokens, or that of its last token.",
            "mean",
        ),
        Option("text_field", str, "The field of a record that holds its text.", "text"),
    ),
    run=run,
    show=show,
)
