"""`tfscale compress`: a run to a smaller one."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.arguments import add_config, build_config, new_parser, parse_words
from tfscale.commands import train
from tfscale.commands.display import number, print_table
from tfscale.commands.quiet import load_tensorflow
from tfscale.compress_config import CompressConfig, DistillConfig, PruneConfig, ShrinkConfig

SUMMARY = "a run -> a smaller one: fewer units, zeros, weights for int8 or int4; fine-tuned"


def build_parser() -> ArgumentParser:
    """The options of `tfscale compress`."""
    parser = new_parser(
        "compress",
        "Takes units out of a trained run (shrink), sets weights to zero (prune) and rounds them for a recipe of "
        "export (quantize) while it is trained on, with its own earlier predictions as a guide if wanted (distill). "
        "Writes a new run, which evaluates and exports like any other. The same command goes on with a fine-tuning "
        "that was stopped.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="Run folder that tfscale train wrote.")
    add_config(parser, CompressConfig)
    add_config(parser, ShrinkConfig, "shrink")
    add_config(parser, PruneConfig, "prune")
    add_config(parser, DistillConfig, "distill")
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale compress`."""
    return parse_words(build_parser(), words)


def run(options: Namespace) -> dict[str, Any]:
    """Fine-tunes; returns the summary of the new run."""
    config = build_config(CompressConfig, options)
    prune, shrink = build_config(PruneConfig, options, "prune"), build_config(ShrinkConfig, options, "shrink")
    distill = build_config(DistillConfig, options, "distill")
    load_tensorflow()
    from tfscale.compression.compress import compress_run

    return compress_run(options.run_dir, config, prune, shrink, distill)


def show(result: dict[str, Any]) -> None:
    """Prints what train prints, what is zero, and the validation before and after."""
    train.show(result)
    rows = [[path, number(fraction)] for path, fraction in result["sparsity"].items()]
    if rows:
        print_table(["weight", "zeros"], [*rows, ["all of these", number(result["sparsity_of_pruned"])]])
    print(f"parameters {number(result['parameters_before'])} before, {number(result['parameters'])} after")
    before, after = result["validation_before"], result["validation"]
    if before and after:
        print(f"validation perplexity {number(before['perplexity'])} before, {number(after['perplexity'])} after")


exit_code = train.exit_code
