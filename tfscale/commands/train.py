"""`tfscale train`: the model family decides which options there are."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import (
    add_config,
    apply_yaml,
    build_config,
    new_parser,
    normalize,
    option_types,
    parse_normalized,
    read_yaml,
    unknown_option,
)
from tfscale.commands.scores import score_figures
from tfscale.compat.quiet import load_tensorflow
from tfscale.config import NGramConfig, TrainConfig, TransformerConfig
from tfscale.config.compression import DistillConfig
from tfscale.config.models import network_families
from tfscale.config.presets import PRESETS, preset_options
from tfscale.errors import ConfigError
from tfscale.launching.heartbeat import RESUME_EXIT_CODE
from tfscale.registry import FAMILIES
from tfscale.terminal import print
from tfscale.ui.tables import print_figures

SUMMARY = "token shards -> a trained model; goes on with a run that was stopped"


RECORDED = (
    "data_digest",
    "tokenizer_digest",
    "prune",
    "shrink",
    "quantize",
    "started_from",
    "teacher_digest",
    "vectors_digest",
)
"""Keys that the config.yaml of a run has besides options: such a file can be given to train another
run."""


def build_parser(family: str = "transformer") -> ArgumentParser:
    """The parser for one model family; its help lists the options of the others at the end."""
    parser = model_parser(family)
    parser.add_argument(
        "--vectors",
        type=str,
        default="",
        help="File of word2vec or GloVe: the first embeddings of the tokens it knows.",
    )
    parser.add_argument(
        "--start",
        type=str,
        default="",
        help="Run folder to begin with: its architecture, its weights, no model options.",
    )
    add_config(parser, DistillConfig, "distill")
    return parser


def model_parser(family: str) -> ArgumentParser:
    """The same without a teacher: what decides about a model and its train step."""
    parser = new_parser(
        "train",
        "Trains a language model. The same command goes on from the last checkpoint of its run"
        " folder.",
        "\n\n".join(_family_help(name) for name in FAMILIES.names() if name != family),
    )
    parser.add_argument(
        "config",
        nargs="?",
        metavar="CONFIG.yaml",
        help="Options in the sections model: and train:, data: and output:.",
    )
    parser.add_argument("--data", type=str, help="Data folder that tfscale prepare wrote.")
    parser.add_argument("--output", type=str, help="Run folder to write, or to go on with.")
    families = ", ".join(FAMILIES.names())
    parser.add_argument(
        "--model.family", type=str, default=family, help=f"Kind of model: {families}."
    )
    if family == TransformerConfig.family:
        parser.add_argument(
            "--model.preset",
            type=str,
            default="",
            help=(
                "Sizes and options of a known model, before those that are given:"
                f" {', '.join(PRESETS)}."
            ),
        )
    add_config(parser, FAMILIES.get(family), "model")
    add_config(parser, TrainConfig, "train")
    return parser


def ngram_parser() -> ArgumentParser:
    """The parser for n-gram models, which take no steps and have no train options."""
    parser = new_parser("train", "Counts n-grams and smooths them.")
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG.yaml", help="Options in the section model:."
    )
    parser.add_argument("--data", type=str, help="Data folder that tfscale prepare wrote.")
    parser.add_argument("--output", type=str, help="Run folder to write.")
    parser.add_argument("--model.family", type=str, default=NGramConfig.family, help="ngram.")
    add_config(parser, NGramConfig, "model")
    return parser


def _family_help(family: str) -> str:
    parser = new_parser("train", "")
    add_config(parser, FAMILIES.get(family), "model")
    lines = parser.format_help().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  --model."))
    return "\n".join(
        [f"With --model.family {family} ({lines[start - 1].removesuffix(':')}):", *lines[start:]]
    )


NEEDED = {"data": "the data folder that tfscale prepare wrote", "output": "the run folder to write"}


def parse(
    words: Sequence[str],
    builder: Callable[[str], ArgumentParser] = build_parser,
    needed: Mapping[str, str] = NEEDED,
) -> Namespace:
    """Parses the words after `tfscale train`, and the YAML file if one is named.

    Args:
        words: the words.
        builder: makes the parser of a model family; another command that takes train's options
            gives its own.
        needed: options that must be given, and what they are.
    """
    parsers = {family: builder(family) for family in network_families()}
    if builder is build_parser:
        parsers[NGramConfig.family] = ngram_parser()
    known = {
        key: typehint
        for parser in parsers.values()
        for key, typehint in option_types(parser).items()
    }
    words = normalize(words, known)
    path = next((word for word in words if not word.startswith("-")), None)
    document = read_yaml(path) if path else {}
    document = {key: value for key, value in document.items() if key not in RECORDED}
    family = _family(words, document)
    if not isinstance(family, str) or family not in parsers:
        raise ConfigError(
            f"--model.family: expected one of {', '.join(parsers)}; received {family!r}"
        )
    parser = parsers[family]
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and name != "--help" and name[2:] not in option_types(parser):
            raise ConfigError(unknown_option(name, option_types(parser)))
    if options_of_model := _given_to_model(words, document) if _starts(words, document) else []:
        raise ConfigError(
            f"--start takes the model of that run; leave {', '.join(options_of_model)} out"
        )
    if name := _preset(words, document):
        apply_yaml(parser, {"model": preset_options(name)}, f"preset {name}")
    if path:
        apply_yaml(parser, document, path)
    options = parse_normalized(parser, words)
    for name, what in needed.items():
        if not options[name]:
            raise ConfigError(f"--{name} must be given: {what}")
    return options


def _family(words: Sequence[str], document: dict[str, Any]) -> Any:
    section = document.get("model")
    named = [word.partition("=")[2] for word in words if word.startswith("--model.family=")]
    if named:
        return named[-1]
    return section.get("family", "transformer") if isinstance(section, dict) else "transformer"


def _starts(words: Sequence[str], document: dict[str, Any]) -> bool:
    return bool(document.get("start")) or any(word.startswith("--start=") for word in words)


def _given_to_model(words: Sequence[str], document: dict[str, Any]) -> list[str]:
    section = document.get("model")
    named = [word.partition("=")[0] for word in words if word.startswith("--model.")]
    return named + [f"model.{key}" for key in (section if isinstance(section, dict) else {})]


def _preset(words: Sequence[str], document: dict[str, Any]) -> str:
    named = [word.partition("=")[2] for word in words if word.startswith("--model.preset=")]
    section = document.get("model")
    return (
        named[-1] if named else str(section.get("preset", "")) if isinstance(section, dict) else ""
    )


def run(options: Namespace) -> dict[str, Any]:
    """Trains; returns the summary of the run, and where it is."""
    return {**_train(options), "output": options.output}


def _train(options: Namespace) -> dict[str, Any]:
    if options.model.family == NGramConfig.family:
        from tfscale.runs.ngram import train_ngram

        return train_ngram(
            build_config(NGramConfig, options, "model"), data=options.data, output=options.output
        )
    model_config = build_config(FAMILIES.get(options.model.family), options, "model")
    train_config = build_config(TrainConfig, options, "train")
    distill = build_config(DistillConfig, options, "distill")
    if distill.weight and not distill.teacher:
        raise ConfigError(
            f"--distill.weight {distill.weight} needs --distill.teacher, a run folder"
        )
    begins = [
        name
        for name, value in (
            ("--vectors", options.vectors),
            ("--distill.teacher", distill.teacher),
            ("--start", options.start),
        )
        if value
    ]
    if len(begins) > 1:
        raise ConfigError(f"give either {' or '.join(begins)}")
    load_tensorflow()
    if options.start:
        from tfscale.runs.start import train_from_run

        return train_from_run(options.start, train_config, data=options.data, output=options.output)
    if options.vectors:
        from tfscale.runs.vectors import train_from_vectors

        return train_from_vectors(
            model_config, train_config, options.vectors, data=options.data, output=options.output
        )
    if distill.teacher:
        from tfscale.compress.tuning import distill_run

        return distill_run(
            model_config, train_config, distill, data=options.data, output=options.output
        )
    from tfscale.runs.train import train

    return train(
        model_config, train_config, data=options.data, output=options.output, progress=True
    )


def show(result: dict[str, Any]) -> None:
    """Prints steps, losses and speed."""
    if result.get("interrupted"):
        print(
            f"stopped by {result['interrupted']} at step {result['steps']:,}; the same command goes"
            " on from there"
        )
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


def _next_steps(result: dict[str, Any]) -> str:
    """Where the model is, and the commands that make use of it."""
    output = result["output"]
    family = read_yaml(os.path.join(output, "config.yaml"))["model"]["family"]
    config = FAMILIES.get(family)
    which = f", the weights of step {result['result_step']:,}" if "result_step" in result else ""
    best = " with the lowest validation loss" if result.get("result") == "best" else ""
    uses = "\n".join(f"  tfscale {use.replace('RUN', output)}" for use in config.uses)
    return f"\nThe model is in {output}{which}{best}. What you can do with it:\n{uses}"


def exit_code(result: dict[str, Any]) -> int:
    """75 (EX_TEMPFAIL: try again) for a run that a signal stopped, 130 for Ctrl-C; both have
    written a checkpoint."""
    interrupted = result.get("interrupted")
    return 0 if not interrupted else 130 if interrupted == "SIGINT" else RESUME_EXIT_CODE
