"""`tfscale vectors`: word2vec on the tokens of a data folder."""

from jsonargparse import Namespace

from tfscale.commands.command import Command, values_of
from tfscale.commands.parser import NEEDED, Option
from tfscale.files.json_text import JsonObject
from tfscale.ui.tables import print_figures


def run(options: Namespace) -> JsonObject:
    """Trains; returns how many tokens have a vector."""
    from tfscale.data.vectors import vectors

    return vectors(**values_of(options))


def show(result: JsonObject) -> None:
    """Prints the figures."""
    print_figures(result)


COMMAND = Command(
    name="vectors",
    description="Trains word vectors (skip-gram, by gensim) on the training split of a data"
    " folder.",
    takes=(
        Option("data", str, "Data folder that tfscale prepare wrote.", NEEDED),
        Option("output", str, "File to write, in word2vec's text format.", NEEDED),
        Option("dim", int, "Width of the vectors.", 128),
        Option("window", int, "Tokens on either side that are predicted.", 5),
        Option("epochs", int, "Passes over the text.", 5),
        Option("min_count", int, "Tokens that occur less often get no vector.", 5),
        Option("seed", int, "Seed of the first vectors.", 0),
    ),
    run=run,
    show=show,
)
