"""`tfscale finetune`: a trained run and labelled examples to a model of a task."""

import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands import train
from tfscale.commands.arguments import add_config, build_config, new_parser, parse_words
from tfscale.compat.quiet import load_tensorflow
from tfscale.config.tasks import TaskConfig
from tfscale.terminal import print
from tfscale.ui.tables import number, print_table

SUMMARY = (
    "a run and labelled examples -> a model that classifies, tags, answers, translates or"
    " summarizes"
)


def build_parser() -> ArgumentParser:
    """The options of `tfscale finetune`."""
    parser = new_parser(
        "finetune",
        "Trains a run on labelled examples of a task, with a head where it needs one; scores it"
        " beside a baseline.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="Run folder that tfscale train wrote.")
    add_config(parser, TaskConfig)
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale finetune`."""
    return parse_words(build_parser(), words)


def run(options: Namespace) -> dict[str, Any]:
    """Fine-tunes; returns the summary with the metrics of each split."""
    config = build_config(TaskConfig, options)
    load_tensorflow()
    from tfscale.tasks.finetune import finetune

    return finetune(options.run_dir, config, lambda text: print(text, file=sys.stderr, flush=True))


def show(result: dict[str, Any]) -> None:
    """Prints the metrics of each split beside those of the baseline."""
    if result.get("interrupted"):
        print(
            f"stopped by {result['interrupted']} at step {result['steps']:,}; the same command goes"
            " on from there"
        )
        return
    rows = []
    for split in ("validation", "test"):
        for name, value in result.get(split, {}).items():
            if isinstance(value, float):
                base = result[split]["baseline"][name]
                rows.append([f"{split} {name.replace('_', ' ')}", number(value), number(base)])
    print_table(["", "model", "baseline"], rows)


def exit_code(result: dict[str, Any]) -> int:
    """As of `tfscale train`: 75 or 130 for what a signal stopped after a checkpoint."""
    return train.exit_code(result)
