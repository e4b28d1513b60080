"""`tfscale generate`: completes a prompt."""

import sys

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import TARGET, add_config, build_config, new_parser
from tfscale.commands.command import Command
from tfscale.config import SamplingConfig
from tfscale.files.json_text import JsonObject
from tfscale.terminal import note, print


def build_parser() -> ArgumentParser:
    """The options of `tfscale generate`."""
    parser = new_parser("generate", "Completes a prompt, token by token.")
    parser.add_argument("target", metavar="RUN_DIR|FILE.tflite|FILE.litertlm", help=TARGET)
    parser.add_argument(
        "--prompt", type=str, default="", help="Text to complete; empty begins a document."
    )
    parser.add_argument("--max_tokens", type=int, default=64, help="Most tokens to draw.")
    parser.add_argument("--stop", type=list[str], default=[], help="Texts that end the completion.")
    parser.add_argument(
        "--parse_special",
        type=bool,
        default=False,
        help=(
            "Read the texts of special tokens in the prompt, such as <|eot_id|>, as those tokens;"
            " else as plain text."
        ),
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; no effect on a run.")
    add_config(parser, SamplingConfig)
    return parser


def run(options: Namespace) -> JsonObject:
    """Returns the completion; without --json it is also written to the terminal as it comes."""
    sampling = build_config(SamplingConfig, options)
    from tfscale.api import generate

    unwritten = [options.prompt]

    def write(text: str) -> None:
        """Writes the prompt with the first piece, so that a mistake leaves nothing on stdout."""
        print("".join(unwritten) + text, end="", flush=True)
        unwritten.clear()

    done = generate(
        options.target,
        prompt=options.prompt,
        max_tokens=options.max_tokens,
        stop=options.stop,
        threads=options.threads,
        parse_special=options.parse_special,
        on_text=None if options.json else write,
        sampling=sampling,
    )
    if unwritten and not options.json:
        write("")
    return {
        "prompt": options.prompt,
        "text": done.text,
        "prompt_tokens": done.prompt_tokens,
        "tokens": done.token_count,
        "tokens_per_second": done.tokens_per_second,
        "stopped_by": done.stopped_by,
        "unknown_prompt_tokens": done.unknown_prompt_tokens,
    }


def show(result: JsonObject) -> None:
    """Ends the streamed text; the figures go to stderr, so that stdout holds the text alone."""
    print(flush=True)
    if result["unknown_prompt_tokens"]:
        note(
            f"{result['unknown_prompt_tokens']:,} of the prompt's {result['prompt_tokens'] - 1:,}"
            " tokens are unknown to the model: it has not read what they stand for"
        )
    speed = f", {result['tokens_per_second']:,.1f} tokens/s" if result["tokens_per_second"] else ""
    print(f"[{result['tokens']} tokens{speed}; stopped by {result['stopped_by']}]", file=sys.stderr)


COMMAND = Command(
    "generate", "complete a prompt with a run or an exported file", build_parser, run, show
)
