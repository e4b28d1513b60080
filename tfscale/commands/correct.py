"""`tfscale correct`: words that a cloze model finds misspelt."""

from jsonargparse import Namespace

from tfscale.commands.command import Command, values_of
from tfscale.commands.parser import NEEDED, TARGET, THREADS, Option
from tfscale.config import EDIT_COST
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import number, print_table


def run(options: Namespace) -> JsonObject:
    """Returns `corrections` and the `corrected` text."""
    from tfscale.api import correct

    corrections = correct(**values_of(options))
    corrected, end = "", 0
    for correction in corrections:
        corrected += options.text[end : correction.start] + correction.replacement
        end = correction.start + len(correction.word)
    corrected += options.text[end:]
    return {"corrections": list(map(vars, corrections)), "corrected": corrected}


def show(result: JsonObject) -> None:
    """Prints the corrections, and the text with them."""
    if result["corrections"]:
        rows = [
            [correction["word"], correction["replacement"], number(correction["gain"])]
            for correction in result["corrections"]
        ]
        print_table(["word", "meant", "gain (nats)"], rows)
    print(result["corrected"])


COMMAND = Command(
    name="correct",
    description="Finds words one letter away from one that makes the text much more likely, by a"
    " bilstm or bert.",
    takes=(
        TARGET,
        Option("text", str, "A sentence or two.", NEEDED),
        Option("edit_cost", float, "Nats by which the text must become more likely.", EDIT_COST),
        THREADS,
    ),
    run=run,
    show=show,
)
