"""`tfscale benchmark`: times an exported file."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.arguments import new_parser, parse_words
from tfscale.commands.display import print_figures

SUMMARY = "time a .tflite file on this machine"


def build_parser() -> ArgumentParser:
    """The options of `tfscale benchmark`."""
    parser = new_parser("benchmark", "Times an exported file on this machine.")
    parser.add_argument("target", metavar="FILE.tflite", help="An exported .tflite file or its folder.")
    parser.add_argument("--tokens", type=int, default=128, help="Tokens to decode.")
    parser.add_argument("--prompt_tokens", type=int, default=64, help="Tokens of the prompt.")
    parser.add_argument("--repeats", type=int, default=3, help="Timed repetitions; medians are shown.")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads.")
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale benchmark`."""
    return parse_words(build_parser(), words)


def run(options: Namespace) -> dict[str, Any]:
    """Returns tokens per second of the prompt and of decoding, seconds to the first token, size and memory."""
    from tfscale.device import load

    model = load(options.target, threads=options.threads)
    return model.benchmark(options.tokens, options.repeats, options.prompt_tokens)


def show(result: dict[str, Any]) -> None:
    """Prints the figures."""
    print_figures({name.replace("_", " "): value for name, value in result.items()})
