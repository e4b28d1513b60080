"""`tfscale compress`: a run to a smaller one."""

import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands import train
from tfscale.commands.arguments import add_config, build_config, new_parser, parse_words
from tfscale.compat.quiet import load_tensorflow
from tfscale.config.compression import (
    CompressConfig,
    DistillConfig,
    PruneConfig,
    SearchConfig,
)
from tfscale.config.shrinking import ShrinkConfig
from tfscale.errors import ConfigError
from tfscale.terminal import print
from tfscale.ui.tables import number, print_table

SUMMARY = "a run -> a smaller one: fewer units, zeros, weights for int8 or int4; fine-tuned"


def build_parser() -> ArgumentParser:
    """The options of `tfscale compress`."""
    parser = new_parser(
        "compress",
        "Takes units out of a trained run (shrink), sets weights to zero (prune) and rounds them"
        " for a recipe of export (quantize) while it is trained on, with its own earlier"
        " predictions as a guide if wanted (distill). Writes a new run, which evaluates and exports"
        " like any other. With a bound (target-size, max-perplexity-increase,"
        " target-tokens-per-second) it finds out by itself what to do, and writes the exported file"
        " and a table of all that it tried; with target-text it tries smaller vocabularies, too."
        " The same command goes on with what was stopped.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="Run folder that tfscale train wrote.")
    add_config(parser, CompressConfig)
    add_config(parser, SearchConfig)
    add_config(parser, ShrinkConfig, "shrink")
    add_config(parser, PruneConfig, "prune")
    add_config(parser, DistillConfig, "distill")
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale compress`."""
    options = parse_words(build_parser(), words)
    if build_config(SearchConfig, options).asked:
        plain = parse_words(build_parser(), [options.run_dir, "--output", options.output])
        for section in ("shrink", "prune", "distill"):
            if vars(options[section]) != vars(plain[section]):
                raise ConfigError(
                    f"--{section}.* says what to do, and a bound such as --target-size asks"
                    " compress to find out; give one of them"
                )
        if options.quantize != plain.quantize:
            raise ConfigError(
                "--quantize is one recipe, and with a bound compress tries all; give one of them"
            )
    return options


def run(options: Namespace) -> dict[str, Any]:
    """Fine-tunes; returns the summary of the new run."""
    config = build_config(CompressConfig, options)
    prune, shrink = (
        build_config(PruneConfig, options, "prune"),
        build_config(ShrinkConfig, options, "shrink"),
    )
    distill = build_config(DistillConfig, options, "distill")
    bounds = build_config(SearchConfig, options)
    load_tensorflow()
    if bounds.asked:
        from tfscale.workflows.search import search_run

        return search_run(
            options.run_dir, config, bounds, lambda text: print(text, file=sys.stderr)
        )
    from tfscale.compress.compress import compress_run

    return {
        **compress_run(options.run_dir, config, prune, shrink, distill),
        "output": options.output,
    }


def show(result: dict[str, Any]) -> None:
    """Prints what train prints, what is zero, and the validation before and after; of a search, all
    that it tried."""
    if "stopped_at" in result:
        name, step = result["stopped_at"]
        print(
            f"stopped by {result['interrupted']} at step {step:,} of {name}; the same command goes"
            " on from there"
        )
        return
    if "candidates" in result:
        from tfscale.workflows.search.outcome import head, legend, table_rows, verdict

        print_table(
            head(result),
            [
                [value if isinstance(value, str) else number(value) for value in row]
                for row in table_rows(result)
            ],
        )
        for name, meaning in legend(result):
            print(f"{name}: {meaning}")
        print(f"{verdict(result)}; {result['steps']:,} steps; {result['export']}")
        return
    train.show(result)
    rows = [[path, number(fraction)] for path, fraction in result["sparsity"].items()]
    if rows:
        print_table(
            ["weight", "zeros"], [*rows, ["all of these", number(result["sparsity_of_pruned"])]]
        )
    print(
        f"parameters {number(result['parameters_before'])} before, {number(result['parameters'])}"
        " after"
    )
    before, after = result["validation_before"], result["validation"]
    if before and after:
        name = "pseudo_perplexity" if "pseudo_perplexity" in before else "perplexity"
        print(
            f"validation {name.replace('_', '-')} {number(before[name])} before,"
            f" {number(after[name])} after"
        )


def exit_code(result: dict[str, Any]) -> int:
    """As train's; 1 for a search whose bounds are not met."""
    return (0 if result["met"] else 1) if "met" in result else train.exit_code(result)
