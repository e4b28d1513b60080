"""Compares what a run was begun with, as its folder says, with what is asked for now."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from tfscale.config import TrainConfig
from tfscale.config.compression import DistillConfig, PruneConfig
from tfscale.config.optimizer import with_optimizer_defaults
from tfscale.config.options import Options
from tfscale.config.shrinking import ShrinkConfig
from tfscale.config.train import LENGTHS
from tfscale.errors import CheckpointError, ConfigError, DataError
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import exists
from tfscale.registry import FAMILIES
from tfscale.runs.folder import read_config
from tfscale.runs.longer import filled, refuse_longer
from tfscale.runs.provenance import DIGESTS, SECTIONS
from tfscale.training.checkpoint import Checkpoints

MAY_CHANGE = {
    "strategy",
    "xla",
    "validate_every",
    "validation_batches",
    "checkpoint_every",
    "log_every",
    "result",
    "tensorboard",
    "micro_batches",
    "remat",
    "loss_chunk_tokens",
    "teacher",
}
"""Training options that a resumed run may set anew: they do not change what the steps compute
beyond rounding."""

_FIRST = ("family", "optimizer", "schedule")
"""Options that decide which others there are."""


def check_same_run(output: str, now: JsonObject) -> bool:
    """Checks that a folder, if it holds a run, holds an earlier state of this one.

    Returns:
        Whether the run was begun for another length, which its schedule allows.

    Raises:
        ConfigError: it was begun with another model, or with training options that change its
            result.
        DataError: it was begun on other data.
    """
    path = os.path.join(output, "config.yaml")
    if not exists(path):
        return False
    earlier = read_config(path)
    for name in SECTIONS:
        if not isinstance(earlier.get(name, {}), dict):
            raise CheckpointError(
                f"{path} is not the config.yaml of a run: {name} is not a section of it"
            )
    earlier, now = ({**run, "train": filled(run.get("train", {}))} for run in (earlier, now))
    for name, key, before, after in _other_options(earlier, now):
        raise ConfigError(
            f"run {output} was begun with {name}.{key}={before!r}, now it is {after!r}; "
            "give the same value to resume, or another --output"
            f"{_if_default_changed(name, key, (before, after), now['model'], output)}"
        )
    for key, what in DIGESTS.items():
        if earlier.get(key) != now.get(key):
            raise ConfigError(
                f"run {output} was begun with other {what}; start from the same run, or give"
                " another --output"
            )
    if earlier.get("data_digest") != now["data_digest"]:
        raise DataError(
            f"run {output} was begun on other data than {now['data']}; give that data, or another"
            " --output"
        )
    if all(earlier["train"][name] == now["train"][name] for name in LENGTHS):
        return False
    refuse_longer(output, earlier, now, exists(os.path.join(output, "model.keras")))
    return True


def check_checkpoint(path: str, kept: object, now: JsonObject) -> None:
    """Checks that a checkpoint was written by this run, not copied from one of the same model.

    Args:
        path: its file.
        kept: what it says of its run; anything but a mapping where an earlier version wrote it.
        now: the content of this run's config.yaml.

    Raises:
        CheckpointError: its run had other options, other data or other weights to begin with.
    """
    if not isinstance(kept, dict) or not all(
        isinstance(kept.get(name, {}), dict) for name in SECTIONS
    ):
        return
    earlier, asked = ({**run, "train": filled(run.get("train", {}))} for run in (kept, now))
    others = [
        f"{name}.{key}={before!r}, this one has {after!r}"
        for name, key, before, after in _other_options(earlier, asked)
    ]
    digests = {"data_digest": "data", **DIGESTS}
    others += [f"other {what}" for key, what in digests.items() if kept.get(key) != now.get(key)]
    if others:
        raise CheckpointError(
            f"checkpoint {path} belongs to another run, with {others[0]}; remove it, or give the"
            " --output of its run"
        )


def _other_options(
    earlier: JsonObject, now: JsonObject
) -> Iterator[tuple[str, str, object, object]]:
    """Yields the options by which two runs differ: section, name, and the values of both.

    Args:
        earlier: the content of a config.yaml, its section `train` filled.
        now: the same of the run that is asked for.
    """
    for name in SECTIONS:
        old, new = (_whole(name, run, now["model"]["family"]) for run in (earlier, now))
        if name == "train":
            old, new = with_optimizer_defaults(old), with_optimizer_defaults(new)
        # Of another family, optimizer or schedule, other options differ too: that it is one comes
        # first.
        for key in sorted(set(new) | set(old), key=lambda name: (name not in _FIRST, name)):
            before, after = old.get(key), new.get(key)
            if before != after and key not in MAY_CHANGE and key not in LENGTHS:
                yield name, key, before, after


def check_not_lost(output: str, checkpoints: Checkpoints) -> None:
    """Refuses to train a model from the beginning over one that is there.

    Raises:
        CheckpointError: the folder has a model, and no checkpoint to go on from.
    """
    if not checkpoints.start_of_longer() and exists(os.path.join(output, "model.keras")):
        raise CheckpointError(
            f"run {output} has a model and no checkpoint to go on from; give another --output, with"
            f" --start {output} to train its model further, or remove the folder to train anew"
        )


def _whole(section: str, described: JsonObject, family: str) -> JsonObject:
    """Returns all options of a section: one that came after the run was begun had the meaning of
    its first default."""
    options = described.get(section, {})
    if section == "quantize":
        return {"recipe": "none", **options}
    kind = _class_of(section, family)
    fields = dataclasses.fields(kind)
    return {field.name: field.default for field in fields} | kind.of_record(options)


def _class_of(section: str, family: str) -> Any:
    """Returns the config class of a section."""
    kinds: dict[str, type[Options]] = {
        "train": TrainConfig,
        "prune": PruneConfig,
        "shrink": ShrinkConfig,
        "distill": DistillConfig,
    }
    return kinds.get(section) or FAMILIES.get(family)


def _if_default_changed(
    section: str, key: str, values: tuple[object, object], model: JsonObject, output: str
) -> str:
    """Returns how a run goes on that was begun when an option had another default.

    Args:
        section: of the option.
        key: the option.
        values: of the run, and as it is asked for now.
        model: the section of the model, as it is asked for now.
        output: the run folder.
    """
    family = model["family"]
    if section == "quantize" or key not in _class_of(section, family).earlier_defaults:
        return ""
    kind, (before, after) = _class_of(section, family), values
    # An optimizer that is left out is the family's.
    today = {field.name: field.default for field in dataclasses.fields(kind)}[key]
    if section == "train" and key == "optimizer":
        today = FAMILIES.get(family).optimizer
    if before != kind.earlier_defaults[key] or after != today:
        return ""
    return (
        f"; its default has changed since, and tfscale train {output}/config.yaml --output {output}"
        " goes on with the options of the run"
    )
