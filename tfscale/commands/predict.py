"""`tfscale predict`: labels, tags, answers or texts by a fine-tuned task or its exported file."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands import target
from tfscale.commands.arguments import new_parser, parse_words
from tfscale.errors import ConfigError
from tfscale.terminal import print

SUMMARY = "labels, tags, answers or a new text of a text or a file, by a fine-tuned model"


def build_parser() -> ArgumentParser:
    """The options of `tfscale predict`."""
    parser = new_parser(
        "predict", "Predicts by a folder of tfscale finetune, or by its exported file."
    )
    parser.add_argument(
        "target",
        metavar="TASK_DIR|FILE.tflite",
        help="A folder of tfscale finetune, or its export.",
    )
    parser.add_argument("--text", type=str, default="", help="A text to predict for.")
    parser.add_argument(
        "--question", type=str, default="", help="The question, for the task answer."
    )
    parser.add_argument(
        "--file",
        type=str,
        default="",
        help="A file of examples, as for finetune; labels are not needed.",
    )
    parser.add_argument(
        "--beams",
        type=int,
        default=1,
        help="Hypotheses of a beam search, for translate and summarize; 1 is greedy.",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; no effect on a folder of finetune."
    )
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale predict`."""
    options = parse_words(build_parser(), words)
    if bool(options.text) == bool(options.file):
        raise ConfigError("give either --text or --file")
    if options.file and options.question:
        raise ConfigError("--question goes with --text; a file has a question in each example")
    return options


def run(options: Namespace) -> dict[str, Any]:
    """Returns `predictions`, one for each example."""
    target.start_for(options.target)
    from tfscale import api

    found = api.predict(
        options.target,
        text=options.text,
        question=options.question,
        file=options.file,
        beams=options.beams,
        threads=options.threads,
    )
    return {"predictions": found}


def show(result: dict[str, Any]) -> None:
    """Prints a line for each prediction."""
    for prediction in result["predictions"]:
        print(prediction)
