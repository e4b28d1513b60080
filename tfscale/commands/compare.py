"""`tfscale compare`: several models on one text, side by side."""

import os
from collections.abc import Sequence

from jsonargparse import Namespace

from tfscale.commands import train
from tfscale.commands.arguments import parse_words
from tfscale.commands.command import Command
from tfscale.commands.model_options import model_of, parse_model_options, training_of
from tfscale.commands.parser import Option, build_config
from tfscale.compat.quiet import load_tensorflow
from tfscale.config import NetworkConfig, NGramConfig, TrainConfig
from tfscale.config.comparison import CompareConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.registry import FAMILIES
from tfscale.terminal import print, to_stderr
from tfscale.ui.tables import number, print_table


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words; `--families ngram,lstm` is `--families ngram lstm`."""
    options = parse_words(COMMAND.build_parser(), words)
    options.families = [name for word in options.families for name in word.split(",") if name]
    return options


def run(options: Namespace) -> JsonObject:
    """Returns the content of compare.json."""
    config = build_config(CompareConfig, options)
    files = {
        name: _from_file(name) for name in options.families if name.endswith((".yaml", ".yml"))
    }
    load_tensorflow()
    from tfscale.workflows.compare import compare, entry

    for model_config, _ in files.values():
        entry(model_config.family)  # Refuses a family whose score is not a perplexity.
    entries = {_name(name): files.get(name) or entry(name) for name in options.families}
    if len(entries) < len(options.families):
        raise ConfigError(f"--families names a model twice: {' '.join(options.families)}")
    return compare(entries, config, to_stderr)


def _name(word: str) -> str:
    return os.path.splitext(os.path.basename(word))[0] if word.endswith((".yaml", ".yml")) else word


def _from_file(path: str) -> tuple[NetworkConfig | NGramConfig, TrainConfig]:
    """Returns the model and training options of a YAML file, whose steps the budget replaces."""
    options = parse_model_options([path], train.build_parser, families=FAMILIES.names())
    return model_of(options), training_of(options)


def show(result: JsonObject) -> None:
    """Prints the table."""
    if "interrupted" in result:
        print(f"stopped by {result['interrupted']}; the same command goes on from there")
        return
    from tfscale.workflows.compare_table import HEAD, table_rows

    rows = [
        [str(cell) if place == 0 else number(cell) for place, cell in enumerate(row)]
        for row in table_rows(result["models"])
    ]
    print_table(list(HEAD), rows)
    shares = [model.get("unknown_share") for model in result["models"].values()]
    if any(shares):
        print(
            f"{100 * max(filter(None, shares)):.3g} % of the tokens are unknown: each model has"
            " predicted that a word is unknown, and none which word.\nPerplexities compare with"
            " each other, not with those of other data; bits per byte spell the unknown words."
        )
    print(f"{os.path.join(result['output'], 'report.html')} has the picture")


COMMAND = Command(
    name="compare",
    description="Trains models with the same budget, scores, exports and times them, and prints one"
    " table. A second call goes on where the first one stopped.",
    takes=(
        Option(
            "families",
            list[str],
            "Families (ngram, lstm, gru, rnn, nnlm, transformer), presets, or YAML files with"
            " model: and train:.",
            ["ngram", "lstm", "transformer"],
        ),
        CompareConfig,
    ),
    parse_words=parse,
    run=run,
    show=show,
    exit_code=train.exit_code,
)
