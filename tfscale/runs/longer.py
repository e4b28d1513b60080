"""A run that goes on longer than it was begun for, under the command that began it."""

from tfscale.config import TrainConfig
from tfscale.config.schedule import longer_ones
from tfscale.config.train import DEFAULT_STEPS, LENGTHS
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.registry import SCHEDULES
from tfscale.training.checkpoint import Checkpoints

_MANY_STEPS = 2**40
"""Steps of a run in which a decay of any number of steps is short."""


def filled(section: JsonObject) -> JsonObject:
    """Returns the training options of a run's record with the defaults that depend on others.

    Args:
        section: the section `train` of a config.yaml, of this version or an earlier one.
    """
    section = TrainConfig.of_record(section)
    schedule = section.get("schedule", TrainConfig.schedule)
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        return section  # A damaged record, which is not that of a run that can be asked for.
    kind = SCHEDULES.get(schedule)
    given = {name: section.get(name) for name in kind.takes}
    length = {name: section.get(name) for name in LENGTHS}
    if not any(value is not None for value in length.values()):
        length["steps"] = DEFAULT_STEPS
    return {**section, **kind.completed(given), **length}


def asked_length(section: JsonObject) -> str:
    """Returns the length in a filled section as an option: "train.steps=1000"."""
    name = next(name for name in LENGTHS if section.get(name) is not None)
    return f"train.{name}={section[name]}"


def refuse_longer(output: str, before: JsonObject, now: JsonObject, finished: bool) -> None:
    """Refuses another length for a run whose every step depends on it.

    Args:
        output: the run folder.
        before: the content of its config.yaml, its section `train` filled.
        now: what the run is asked to be, filled as well.
        finished: whether the run has come to its end.

    Raises:
        ConfigError: the schedule comes down to the last step, or weights are pruned by step.
    """
    schedule = now["train"]["schedule"]
    kind = SCHEDULES.get(schedule)
    free = kind(_MANY_STEPS, 0, kind.completed(now["train"])).free_steps
    prunes = bool((now.get("prune") or {}).get("sparsity"))
    if free != 0 and not prunes:
        return
    why = (
        "pruning depends on the number of steps"
        if prunes
        else f"with train.schedule={schedule} each step depends on their number; runs of"
        f" {', '.join(longer_ones())} go on longer"
    )
    further = f" with --start {output} to train its model further" if finished else ""
    was, wanted = asked_length(before["train"]), asked_length(now["train"])
    wanted = wanted.partition("=")[2] if _name(was) == _name(wanted) else wanted
    raise ConfigError(
        f"run {output} was begun with {was}, now it is {wanted}; give the same value to resume, or"
        f" another --output{further} ({why})"
    )


def _name(option: str) -> str:
    return option.partition("=")[0]


def check_start(output: str, checkpoints: Checkpoints, config: TrainConfig) -> None:
    """Checks that a run of another length has a checkpoint to go on from.

    Args:
        output: the run folder.
        checkpoints: those of the run.
        config: the options with the new length; epochs are made into steps.

    Raises:
        ConfigError: the checkpoint is beyond the new end, or beyond the steps that a run of this
            length has in common with it.
    """
    start = checkpoints.start_of_longer()
    if config.minutes is not None:
        return
    total = config.total_steps
    free = config.chosen_schedule(total).free_steps
    if start > total:
        raise ConfigError(
            f"run {output} goes on from step {start:,}, which is beyond {config.length_in_words};"
            f" give --train.steps {start} or more, or another --output"
        )
    if free is not None and start > free:
        raise ConfigError(
            f"run {output} goes on from step {start:,}, and with"
            f" {config.length_in_words} train.schedule={config.schedule} comes down from step"
            f" {free:,} on; give more --train.steps, or another --output"
        )
