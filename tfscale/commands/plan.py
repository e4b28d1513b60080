"""`tfscale plan`: what a training needs, before money is spent."""

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
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import print_figures, print_table


def build_parser(family: str = DEFAULT) -> CommandParser:
    """Returns the options of `tfscale train` and those of the plan."""
    return network_parser(
        family,
        "plan",
        "Says what a training would need: memory, communication, time. Nothing is trained or read.",
        (
            Option("devices", int, "Devices that share each batch.", 1),
            Option("chip", str, "h100, a100, v5e, v5p, v6e, or cpu, measured now.", "cpu"),
            Option(
                "tokens",
                float,
                "Tokens to train on; by default those of train.steps where they are given, else 20"
                " per parameter (train.epochs needs the data, and train.minutes the machine).",
            ),
            Option("utilization", float, "Share of the chip's peak that matrix products reach."),
        ),
    )


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale plan`, and the YAML file if one is named."""
    options = parse_model_options(words, build_parser)
    if options.tokens is None and options.train.steps is not None:
        options.tokens = float(
            options.train.steps * options.train.global_batch_size * options.model.sequence_length
        )
    return options


def run(options: Namespace) -> JsonObject:
    """Makes the plan."""
    from tfscale.planning import plan

    made = plan(
        network_of(options),
        training_of(options),
        devices=options.devices,
        chip=options.chip,
        tokens=options.tokens,
        utilization=options.utilization,
    )
    return made.to_dict()


def show(result: JsonObject) -> None:
    """Prints the plan."""
    memory = result["memory"]
    print(f"{result['devices']} x {result['chip']} ({result['source']})\n")
    print_figures(
        {
            "parameters": result["parameters"],
            "FLOPs per token, forward": result["forward_flops_per_token"],
            "FLOPs per token, training": result["training_flops_per_token"],
            **{f"{name}, GB per device": size / 1e9 for name, size in memory.items()},
            "all of it, GB per device": sum(memory.values()) / 1e9,
            "memory of the device, GB": result["memory_per_device"] / 1e9,
        }
    )
    print(f"\n{'fits' if result['fits'] else 'DOES NOT FIT'}: {result['advice']}\n")
    print_figures(
        {
            "all-reduce, GB sent per device and step": result["all_reduce_bytes"] / 1e9,
            "seconds per step, computation": result["compute_seconds"],
            "seconds per step, communication": result["communication_seconds"],
            "scaling efficiency": result["scaling_efficiency"],
            "tokens per second": result["tokens_per_second"],
            "token budget": result["token_budget"],
            "hours": result["hours"],
            "device hours": result["device_hours"],
        }
    )
    print()
    print_table(
        ["devices", "seconds per step", "tokens per second", "efficiency"],
        [
            [
                str(s["devices"]),
                f"{s['step_seconds']:.4g}",
                f"{s['tokens_per_second']:,.0f}",
                f"{s['efficiency']:.1%}",
            ]
            for s in result["scaling"]
        ],
        "each device with the same share of the batch",
    )


COMMAND = Command(
    name="plan",
    make_parser=build_parser,
    parse_words=parse,
    run=run,
    show=show,
)
