"""The command line `tfscale`: finds the command, prints its result, turns errors into exit codes.

What a command needs is imported when it is asked for, so that help and a misspelt name cost no
time.

Exit codes: 0 done; 2 a mistake of the user's, reported in one `error:` line; 75 stopped by SIGTERM
after writing a checkpoint, the same command goes on; 130 interrupted by Ctrl-C; 143 and 129 ended
by SIGTERM and SIGHUP where there is no checkpoint to write; 1 anything else.
"""

import contextlib
import os
import sys
from collections.abc import Sequence

from tfscale import __version__
from tfscale.commands.table import COMMANDS, overview
from tfscale.compat.quiet import begin_command
from tfscale.errors import ConfigError, TfscaleError
from tfscale.launching.interruption import Terminated, left_by_signals
from tfscale.launching.parent import follow_launcher
from tfscale.terminal import print, to_stderr


def usage() -> str:
    """Returns the text of `tfscale --help`."""
    return "\n".join(
        [
            f"tfscale {__version__}: from raw text to a language model that runs on a phone",
            "",
            "Usage: tfscale COMMAND [options]      (tfscale COMMAND --help lists them)",
            "",
            overview(),
            "",
            "tfscale --plugins MODULE[,MODULE] COMMAND ... imports modules that register more",
            "model families, optimizers, schedules, tokenizers, readers, tasks, export formats or",
            "quantization recipes.",
            (
                "Every command takes --json: progress goes to stderr, the last line of stdout is"
                " one JSON object."
            ),
        ]
    )


def execute(words: Sequence[str]) -> int:
    """Carries out one command line; errors pass through.

    Args:
        words: what stands after `tfscale`.

    Returns:
        The exit code that the command's result calls for.
    """
    words = _without_plugins(words)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help", "--help-all"):
        print(usage())
        return 0
    if words[0] == "--version":
        print(f"tfscale {__version__}")
        return 0
    if words[0] not in COMMANDS:
        from tfscale.commands.suggestions import closest

        is_option = words[0].startswith("-")
        near = closest(words[0], ["--help", "--version", "--plugins"] if is_option else COMMANDS)
        raise ConfigError(
            f"unknown {'option' if is_option else 'command'}"
            f" {words[0]}{near or ' (see tfscale --help)'}"
        )
    command = COMMANDS[words[0]]
    options = command.parse(words[1:])
    if options.json:
        from tfscale.files.json_text import to_json

        with contextlib.redirect_stdout(sys.stderr):
            result = command.run(options)
        print(to_json(result))
    else:
        result = command.run(options)
        command.show(result)
    return command.exit_code(result)


def _without_plugins(words: Sequence[str]) -> list[str]:
    """Imports the modules that `--plugins` names, and returns the words after it."""
    first, *others = words or [""]
    option, has_value, value = first.partition("=")
    if option != "--plugins":
        return list(words)
    if not has_value and others:
        value, *others = others
    modules = [name for name in value.split(",") if name]
    if not modules:
        raise ConfigError("--plugins needs a value: names of Python modules, with commas between")
    from tfscale.registry import use_plugins

    use_plugins(modules)
    return others


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line, as the console script `tfscale`.

    Args:
        words: what stands after `tfscale`; the process's own arguments if left out.

    Returns:
        The exit code.
    """
    follow_launcher()
    if words is None:
        begin_command(to_stderr)
    # TensorFlow reads these when it is imported; whoever wants its log sets the first one.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with left_by_signals():
            return execute(sys.argv[1:] if words is None else words)
    except TfscaleError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Terminated as ending:
        print(f"ended by {ending}", file=sys.stderr)
        return ending.exit_code
    except BrokenPipeError:
        # The reader has gone (`| head`); Python would complain once more when it flushes stdout at
        # exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
