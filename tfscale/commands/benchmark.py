"""`tfscale benchmark`: times an exported file."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import new_parser, parse_words
from tfscale.errors import ConfigError
from tfscale.ui.tables import print_figures, print_table, with_unit

SUMMARY = "time a .tflite file on this machine"


def build_parser() -> ArgumentParser:
    """The options of `tfscale benchmark`."""
    parser = new_parser("benchmark", "Times an exported file on this machine.")
    parser.add_argument(
        "target", metavar="FILE.tflite", help="An exported .tflite file or its folder."
    )
    parser.add_argument("--tokens", type=int, default=128, help="Tokens to decode.")
    parser.add_argument("--prompt_tokens", type=int, default=64, help="Tokens of the prompt.")
    parser.add_argument(
        "--repeats", type=int, default=3, help="Timed repetitions; medians are shown."
    )
    parser.add_argument(
        "--threads", type=list[int], default=[1], help="Numbers of CPU threads to time."
    )
    return parser


def parse(words: Sequence[str]) -> Namespace:
    """Parses the words after `tfscale benchmark`."""
    return parse_words(build_parser(), words)


def run(options: Namespace) -> dict[str, Any]:
    """Returns tokens per second of the prompt and of decoding, seconds to the first token, size and
    memory.

    With several numbers of threads the figures are those of the first, and `by_threads` has all.
    """
    from tfscale.device import load

    if not options.threads:
        raise ConfigError("--threads needs one number or more")
    found = []
    for threads in options.threads:
        model = load(options.target, threads=threads)
        if getattr(model, "is_bundle", False):
            raise ConfigError(
                f"{options.target} is a bundle, which LiteRT-LM times itself; give the .tflite file"
            )
        if not hasattr(model, "benchmark"):
            raise ConfigError(
                f"{options.target} is no file of a model of the next token, which alone is timed"
            )
        found.append(model.benchmark(options.tokens, options.repeats, options.prompt_tokens))
    names = (
        "threads",
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "first_token_seconds",
    )
    return found[0] | (
        {"by_threads": [{name: one[name] for name in names} for one in found]} if found[1:] else {}
    )


def show(result: dict[str, Any]) -> None:
    """Prints the figures with units."""
    figures = [with_unit(name, value) for name, value in result.items() if name != "by_threads"]
    print_figures(dict(figures))
    if rows := [
        [with_unit(*figure) for figure in row.items()] for row in result.get("by_threads", [])
    ]:
        print_table([name for name, _ in rows[0]], [[value for _, value in row] for row in rows])
