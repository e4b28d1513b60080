"""`tfscale train`: the model family decides which options there are."""

import os
from collections.abc import Sequence

from jsonargparse import Namespace

from tfscale.commands.command import Command
from tfscale.commands.model_options import (
    DEFAULT,
    counting_parser,
    model_of,
    network_parser,
    parse_model_options,
    training_of,
)
from tfscale.commands.option_files import read_yaml
from tfscale.commands.parser import CommandParser, Option, build_config
from tfscale.commands.scores import score_figures
from tfscale.config.compression import DistillConfig
from tfscale.files.json_text import JsonObject
from tfscale.launching.heartbeat import RESUME_EXIT_CODE
from tfscale.registry import FAMILIES
from tfscale.terminal import print
from tfscale.ui.tables import print_figures

NEEDED = {"data": "the data folder that tfscale prepare wrote", "output": "the run folder to write"}


def build_parser(family: str = DEFAULT) -> CommandParser:
    """Returns the parser for one model family; its help ends with the options of the others."""
    if FAMILIES.get(family).counted:
        return counting_parser(family)
    return network_parser(
        family,
        takes=(
            Option(
                "vectors",
                str,
                "File of word2vec or GloVe: the first embeddings of the tokens it knows.",
                "",
            ),
            Option(
                "start",
                str,
                "Run folder to begin with: its architecture, its weights, no model options.",
                "",
            ),
            (DistillConfig, "distill"),
        ),
    )


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale train`, and the YAML file if one is named."""
    return parse_model_options(words, build_parser, NEEDED, FAMILIES.names())


def run(options: Namespace) -> JsonObject:
    """Trains; returns the summary of the run, and where it is."""
    begins = {}
    if "distill" in options:
        distill = build_config(DistillConfig, options, "distill")
        begins = {"start": options.start, "vectors": options.vectors, "distill": distill}
    model = None if begins.get("start") else model_of(options)
    train_config = training_of(options)
    from tfscale.api import train

    summary = train(model, train_config, data=options.data, output=options.output, **begins)
    return {**summary, "output": options.output}


def show(result: JsonObject) -> None:
    """Prints steps, losses and speed."""
    show_interruption(result)
    figures = {
        "steps": result["steps"],
        "tokens": result["tokens"],
        "training loss": result["loss"],
        "tokens per second": result["tokens_per_second"],
    }
    if "ngrams" in result:
        figures = {f"{order}-grams": size for order, size in enumerate(result["ngrams"], 1)} | {
            "training loss": result["loss"],
            "tokens per second": result["tokens_per_second"],
        }
    validation = result.get("validation") or {}
    print_figures(
        figures | {f"validation {name}": value for name, value in score_figures(validation).items()}
    )
    if not result.get("interrupted"):
        print(_next_steps(result))


def show_interruption(result: JsonObject) -> None:
    """Says how a training that a signal stopped goes on."""
    if result.get("interrupted"):
        print(
            f"stopped by {result['interrupted']} at step {result['steps']:,}; the same command goes"
            " on from there"
        )


def _next_steps(result: JsonObject) -> str:
    """Says where the model is, and which commands make use of it."""
    output = result["output"]
    family = read_yaml(os.path.join(output, "config.yaml"))["model"]["family"]
    which = f", the weights of step {result['result_step']:,}" if "result_step" in result else ""
    best = " with the lowest validation loss" if result.get("result") == "best" else ""
    uses = "\n".join(f"  tfscale {use.replace('RUN', output)}" for use in FAMILIES.get(family).uses)
    return f"\nThe model is in {output}{which}{best}. What you can do with it:\n{uses}"


def exit_code(result: JsonObject) -> int:
    """Returns 75 (EX_TEMPFAIL) after a signal, 130 after Ctrl-C; both wrote a checkpoint."""
    interrupted = result.get("interrupted")
    return 0 if not interrupted else 130 if interrupted == "SIGINT" else RESUME_EXIT_CODE


COMMAND = Command(
    name="train",
    make_parser=build_parser,
    parse_words=parse,
    run=run,
    show=show,
    exit_code=exit_code,
)
