"""`tfscale launch`: several worker processes of one training on this machine, supervised."""

import json
from collections.abc import Sequence

from jsonargparse import Namespace

from tfscale.commands import train
from tfscale.commands.arguments import normalize, parse_normalized
from tfscale.commands.command import Command
from tfscale.commands.option_files import apply_config_file
from tfscale.commands.parser import build_config, option_types
from tfscale.config.launching import LaunchConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import is_remote
from tfscale.registry import FAMILIES
from tfscale.terminal import print


def parse(words: Sequence[str]) -> Namespace:
    """Parses the options before `--`, and checks the command after it as train would."""
    launch_words, command = list(words), []
    if "--" in words:
        at = launch_words.index("--")
        launch_words, command = launch_words[:at], launch_words[at + 1 :]
    parser = COMMAND.build_parser()
    # First, because the options of the workers' command are unknown here.
    _refuse_stray(launch_words)
    launch_words = normalize(launch_words, option_types(parser))
    _refuse_stray(launch_words)
    apply_config_file(parser, launch_words)
    options = parse_normalized(parser, launch_words)
    if command[:1] != ["train"]:
        received = f"received {command[0]!r}" if command else "nothing stands there"
        raise ConfigError(
            f"launch runs train: tfscale launch --workers 2 -- train --data ... ({received})"
        )
    checked = train.parse(command[1:])
    if FAMILIES.get(checked.model.family).counted:
        raise ConfigError(
            "n-grams are counted by one process, which needs no launch: tfscale train"
            " --model.family ngram"
        )
    config = build_config(LaunchConfig, options)
    # With another strategy each process would train the whole model by itself, into the same run
    # folder.
    fitting = "parameter_server" if config.parameter_servers else "multi_worker"
    together = config.parameter_servers or config.workers > 1
    if together and checked.train.strategy not in ("auto", fitting):
        raise ConfigError(
            f"--train.strategy {checked.train.strategy} does not train in {config.workers} workers"
            f" and {config.parameter_servers} parameter servers together; leave it out, or give"
            f" {fitting}"
        )
    remote = [
        value
        for value in vars(checked.as_flat()).values()
        if isinstance(value, str) and is_remote(value)
    ]
    if together and remote and not config.allow_network:
        raise ConfigError(
            f"{remote[0]} is on the network, and the workers of launch have a network of their own,"
            " with loopback alone; give --allow-network before -- (docs/security.md says what that"
            " opens), or copy it to this machine"
        )
    options.json = bool(options.json or checked.json)
    options.command = [*command, "--json"]
    return options


def _refuse_stray(words: Sequence[str]) -> None:
    """Refuses the first word that is neither an option nor can be the value of one."""
    for before, word in zip(["", *words], words, strict=False):
        takes_value = before.startswith("--") and "=" not in before
        if not word.startswith("-") and not takes_value:
            raise ConfigError(
                f"unexpected {word!r}; the command of the workers stands after --: "
                "tfscale launch --workers 2 -- train --data ..."
            )


def run(options: Namespace) -> JsonObject:
    """Runs the workers; returns the chief's summary, the number of restarts and the exit code."""
    from tfscale.launching.launcher import launch

    launched = launch(options.command, build_config(LaunchConfig, options))
    lines = launched.stdout.strip().splitlines()
    summary = json.loads(lines[-1]) if lines else {}
    return {**summary, "restarts": launched.restarts, "exit_code": launched.exit_code}


def show(result: JsonObject) -> None:
    """Prints what train prints, and how often the workers were started again."""
    if "steps" in result:
        train.show(result)
    if result["restarts"]:
        print(f"the workers were started again {result['restarts']} times")


def exit_code(result: JsonObject) -> int:
    """Returns the exit code of the workers."""
    return int(result["exit_code"])


COMMAND = Command(
    name="launch",
    description="Starts worker processes on this machine: tfscale launch --workers 2 -- train"
    " --data DATA_DIR --output RUN_DIR. When one dies or hangs, all are ended and started again,"
    " and go on from the last checkpoint. Exit codes: 0 done; 2 a mistake; 75 stopped by SIGTERM"
    " after a checkpoint, the same command goes on; 1 too many failures.",
    takes=(LaunchConfig,),
    parse_words=parse,
    run=run,
    show=show,
    exit_code=exit_code,
)
