"""Options of Apache Beam, checked before anything is read, and the runner that they name."""

import argparse
import difflib
from collections.abc import Mapping

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.runner import PipelineRunner, create_runner

from tfscale.compat.beam import OptionParser, direct_runner, takes_one
from tfscale.errors import ConfigError, reason

Value = str | int | float | bool | list[str]
_DIRECT = ("directrunner", "switchingdirectrunner")
_BY_JOB_SERVICE = ("portable", "flink", "spark", "kafkastreams", "prism")
"""Runners whose job service may know more options than Beam for Python does."""
_NOT_TAKEN = (
    "dry_run",
    "no_wait_until_finish",
    "output_executable_path",
    "streaming",
    "template_location",
    "update",
)
"""Options for pipelines that nobody waits for, or that have no end."""


def beam_options(given: Mapping[str, Value]) -> PipelineOptions:
    """Returns Beam's options.

    Args:
        given: name -> value, as `PrepareConfig.beam` has them.

    Raises:
        ConfigError: an option that Beam does not know or `prepare` cannot follow, or a value that
            the option does not take.

    Example:
        beam_options({"runner": "FlinkRunner", "parallelism": "8"})
    """
    parser = OptionParser()
    known = parser.known()
    words: list[str] = []
    for given_name, value in given.items():
        name = given_name if given_name in known else given_name.replace("-", "_")
        if name in _NOT_TAKEN:
            raise ConfigError(
                f"beam.{name} is for pipelines that nobody waits for; prepare waits for its own"
            )
        if name not in known:
            _check_unknown(name, known, str(given.get("runner", "")))
        words += _words(name, value, known)
    try:
        parser.parse_known_args(words)
    except (ValueError, argparse.ArgumentError) as error:
        raise ConfigError(f"Apache Beam: {reason(error)}") from error
    return PipelineOptions(words)


def runner_of(options: PipelineOptions) -> PipelineRunner:
    """Returns the runner that the options name; without a name one that works in this process.

    Raises:
        ConfigError: there is none of that name, or a package that it needs is missing.
    """
    name = options.view_as(StandardOptions).runner or "DirectRunner"
    full = name.lower() if name.lower().endswith("runner") else f"{name.lower()}runner"
    if full in _DIRECT:
        return direct_runner(options)
    if full == "portablerunner" and not options.view_as(PortableOptions).job_endpoint:
        raise ConfigError(
            "beam.runner=PortableRunner needs the address of a job service:"
            " --beam.job_endpoint HOST:PORT"
        )
    try:
        return create_runner(name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"beam.runner={name!r} is not installed: {reason(error)}") from error
    except ValueError as error:
        known = StandardOptions.KNOWN_RUNNER_NAMES
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"Apache Beam has no runner {name!r}; {hint}") from error


def _check_unknown(name: str, known: Mapping[str, argparse.Action], runner: str) -> None:
    """Refuses an option that Beam for Python does not know, unless a job service may."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        raise ConfigError(f"Apache Beam has no option {name!r}; did you mean beam.{near[0]}?")
    if not runner.lower().startswith(_BY_JOB_SERVICE):
        raise ConfigError(f"Apache Beam has no option {name!r} (see PipelineOptions of Beam)")


def _words(name: str, value: Value, known: Mapping[str, argparse.Action]) -> list[str]:
    """Returns an option as it stands on Beam's own command line."""
    action = known.get(name)
    if action is not None and action.nargs == 0:
        switch = str(value).lower()
        if switch not in ("true", "false"):
            raise ConfigError(f"beam.{name}: expected true or false; received {value!r}")
        opposite = f"no_{name}"
        if switch == "false":
            return [f"--{opposite}"] if opposite in known else []
        return [f"--{name}"]
    values = value if isinstance(value, list) else [value]
    if len(values) > 1 and action is not None and takes_one(action):
        raise ConfigError(f"beam.{name} takes one value; received {' '.join(map(str, values))}")
    return [f"--{name}={one}" for one in values]
