"""`tfscale generate`: completes a prompt."""

import sys

from jsonargparse import Namespace

from tfscale.commands.command import Command
from tfscale.commands.parser import TARGET, THREADS, Option, Word, build_config
from tfscale.config import SamplingConfig
from tfscale.files.json_text import JsonObject
from tfscale.terminal import note, print


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
    name="generate",
    description="Completes a prompt, token by token.",
    takes=(
        Word("target", "RUN_DIR|FILE.tflite|FILE.litertlm", TARGET.help),
        Option("prompt", str, "Text to complete; empty begins a document.", ""),
        Option("max_tokens", int, "Most tokens to draw.", 64),
        Option("stop", list[str], "Texts that end the completion.", []),
        Option(
            "parse_special",
            bool,
            "Read the texts of special tokens in the prompt, such as <|eot_id|>, as those tokens;"
            " else as plain text.",
            False,
        ),
        THREADS,
        SamplingConfig,
    ),
    run=run,
    show=show,
)
