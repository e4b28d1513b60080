"""`tfscale tpu-check`: the real TPU compiler on the steps of a config, without a TPU."""

from collections.abc import Sequence

from jsonargparse import Namespace

from tfscale.commands.command import Command
from tfscale.commands.model_options import (
    DEFAULT,
    network_of,
    network_parser,
    parse_model_options,
    training_of,
)
from tfscale.commands.parser import CommandParser, Option
from tfscale.compat.quiet import load_tensorflow
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import print_table


def build_parser(family: str = DEFAULT) -> CommandParser:
    """Returns the options of `tfscale train` and those of the check."""
    return network_parser(
        family,
        "tpu-check",
        "Compiles the training and evaluation step of a config with the compiler that TPUs use, on"
        " a machine without one. It shows that the steps compile and what memory they need; not"
        " that they run, nor how fast.",
        (
            Option("topology", str, "Chip and grid, such as v5e:2x2; by default all."),
            Option("compiler_python", str, "A Python with jax and libtpu; one is made if absent."),
            Option("compiler_seconds", float, "Time limit of the compiler, seconds.", 900.0),
        ),
    )


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale tpu-check`, and the YAML file if one is named."""
    return parse_model_options(words, build_parser)


def run(options: Namespace) -> JsonObject:
    """Compiles for each chip."""
    load_tensorflow()
    from tfscale.ui.progress import ProgressLine
    from tfscale.workflows.tpu_check.check import TOPOLOGIES, tpu_check

    with ProgressLine("tpu-check", None) as line:
        return tpu_check(
            network_of(options),
            training_of(options),
            [options.topology] if options.topology else TOPOLOGIES,
            compiler_python=options.compiler_python,
            seconds=options.compiler_seconds,
            note=line.note,
        )


def show(result: JsonObject) -> None:
    """Prints a row per chip and step, and what would help."""

    def size(value: float | None) -> str:
        return "-" if value is None else f"{value / 2**20:,.0f}"

    rows = [
        [
            f"{chip['topology']} {step['step']}",
            "yes" if step["compiled"] else "NO",
            size(step["weights"]),
            size(step["state"]),
            size(step["temporaries"]),
            size(chip["memory"]),
            "-" if step["flops"] is None else f"{step['flops']:.3g}",
        ]
        for chip in result["chips"]
        for step in chip["steps"]
    ]
    columns = ["chip and step", "compiled", "weights", "state", "temporaries", "memory", "FLOPs"]
    print_table(columns, rows, "MiB on each chip; loops over time count once in the FLOPs")
    for chip in result["chips"]:
        for step in chip["steps"]:
            if step["error"]:
                print(f"{chip['topology']}, {step['step']}: {step['error'].splitlines()[0][:300]}")
            for kind in ("float64", "custom_calls"):
                if step[kind]:
                    print(
                        f"{chip['topology']}, {step['step']}: {kind.replace('_', ' ')}:"
                        f" {', '.join(step[kind])}"
                    )
        if chip["advice"]:
            print(f"{chip['topology']}: {chip['advice']}")
    print(f"compiled by the TPU compiler ({result['compiler']}); not run on a TPU")


def exit_code(result: JsonObject) -> int:
    """Returns 2 if a step did not compile for a chip that was asked for."""
    return 0 if all(chip["compiled"] for chip in result["chips"]) else 2


COMMAND = Command(
    name="tpu-check",
    make_parser=build_parser,
    parse_words=parse,
    run=run,
    show=show,
    exit_code=exit_code,
)
