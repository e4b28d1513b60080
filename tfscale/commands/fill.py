"""`tfscale fill`: the tokens that a cloze model puts into a gap."""

from jsonargparse import Namespace

from tfscale.commands.command import Command, values_of
from tfscale.commands.parser import NEEDED, TARGET, THREADS, Option
from tfscale.files.json_text import JsonObject
from tfscale.ui.tables import number, print_table


def run(options: Namespace) -> JsonObject:
    """Returns `fillings`, each with `text` and `probability`."""
    from tfscale.api import fill

    return {"text": options.text, "fillings": list(map(vars, fill(**values_of(options))))}


def show(result: JsonObject) -> None:
    """Prints the tokens with their probabilities."""
    rows = [
        [repr(filling["text"]), number(filling["probability"])] for filling in result["fillings"]
    ]
    print_table(["token", "probability"], rows)


COMMAND = Command(
    name="fill",
    description="Fills the gap in a text by a run of the family bilstm or bert, or the exported"
    " file of a bilstm.",
    takes=(
        TARGET,
        Option("text", str, "Text with the gap, as ___ (three underscores).", NEEDED),
        Option("count", int, "How many tokens to show.", 5),
        THREADS,
    ),
    run=run,
    show=show,
)
