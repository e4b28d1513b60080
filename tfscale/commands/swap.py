"""`tfscale swap`: how much likelier texts become by one word instead of another."""

from jsonargparse import Namespace

from tfscale.commands.command import Command
from tfscale.commands.parser import TARGET, build_config
from tfscale.config.tasks import SwapConfig
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import number, print_table


def run(options: Namespace) -> JsonObject:
    """Returns a ratio with its interval for each pair."""
    config = build_config(SwapConfig, options)
    from tfscale.api import swap

    return swap(options.target, config)


def show(result: JsonObject) -> None:
    """Prints a row for each pair, and the texts with the largest ratios."""
    rows = [
        [
            f"{pair['a']} / {pair['b']}",
            number(pair["texts"]),
            number(pair["mean"]),
            f"{number(pair['low'])} to {number(pair['high'])}" if pair["texts"] else "-",
            ", ".join(pair["unknown"]),
        ]
        for pair in result["pairs"]
    ]
    print_table(
        ["pair", "texts", result["metric"].replace("_", " "), "95 % of samples", "unknown words"],
        rows,
    )
    for pair in result["pairs"]:
        for example in pair["largest"]:
            print(f"{pair['a']} / {pair['b']}  {example['ratio']:+.3f}  {example['text']}")


COMMAND = Command(
    name="swap",
    description="Computes how much likelier a model finds texts with one word of a pair than with"
    " the other (log-likelihood ratios).",
    takes=(TARGET, SwapConfig),
    run=run,
    show=show,
)
