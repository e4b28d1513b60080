"""`tfscale vectors`: word2vec on the tokens of a data folder."""

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import new_parser
from tfscale.commands.command import Command
from tfscale.files.json_text import JsonObject
from tfscale.ui.tables import print_figures


def build_parser() -> ArgumentParser:
    """The options of `tfscale vectors`."""
    parser = new_parser(
        "vectors",
        "Trains word vectors (skip-gram, by gensim) on the training split of a data folder.",
    )
    parser.add_argument(
        "--data", type=str, required=True, help="Data folder that tfscale prepare wrote."
    )
    parser.add_argument(
        "--output", type=str, required=True, help="File to write, in word2vec's text format."
    )
    parser.add_argument("--dim", type=int, default=128, help="Width of the vectors.")
    parser.add_argument(
        "--window", type=int, default=5, help="Tokens on either side that are predicted."
    )
    parser.add_argument("--epochs", type=int, default=5, help="Passes over the text.")
    parser.add_argument(
        "--min_count", type=int, default=5, help="Tokens that occur less often get no vector."
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the first vectors.")
    return parser


def run(options: Namespace) -> JsonObject:
    """Trains; returns how many tokens have a vector."""
    from tfscale.data.vectors import vectors

    return vectors(
        options.data,
        options.output,
        dim=options.dim,
        window=options.window,
        epochs=options.epochs,
        min_count=options.min_count,
        seed=options.seed,
    )


def show(result: JsonObject) -> None:
    """Prints the figures."""
    print_figures(result)


COMMAND = Command(
    "vectors",
    "word2vec on a data folder's tokens, for tfscale train --vectors",
    build_parser,
    run,
    show,
)
