"""Keeps in a Keras file what was set before `compile`: pruning, weight formats, undecayed weights.

Weights are named by their index among the network's trainable weights, because their paths can
differ when the network is made again.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import keras

from tfscale.compat.keras_optimizers import decays_weight
from tfscale.files.json_text import JsonObject
from tfscale.models.weight_formats import WeightFormat
from tfscale.training.distillation import Teacher
from tfscale.training.step_state import Pruner


class Compressed(Protocol):
    """A step or a model of which something was set before `compile`."""

    network: keras.Model
    optimizer: keras.optimizers.Optimizer
    pruner: Pruner | None


class CompressedModel(Compressed, Protocol):
    """A model that is loaded."""

    formats: dict[str, WeightFormat]


def compression_config(
    owner: Compressed, formats: Sequence[WeightFormat | None], teacher: Teacher | None
) -> JsonObject:
    """Returns what a file keeps, for Keras to serialize.

    A teacher, or a pruner whose schedule is a class of the user's, is not kept; `left_out` names
    it.

    Args:
        owner: built.
        formats: what each trainable weight is rounded to.
        teacher: what the model learns from.
    """
    trained = owner.network.trainable_variables
    pruner = owner.pruner if owner.pruner is not None and owner.pruner.is_kept() else None
    left_out = {
        "tfscale.compress.prune": owner.pruner is not pruner,
        "tfscale.compress.distill": teacher is not None,
    }
    undecayed = [
        index for index, weight in enumerate(trained) if not decays_weight(owner.optimizer, weight)
    ]
    return {
        "undecayed": undecayed,
        "formats": [form and dataclasses.asdict(form) for form in formats] if any(formats) else [],
        "pruner": pruner,
        "left_out": [name for name, is_left_out in left_out.items() if is_left_out],
    }


def set_compression(
    model: CompressedModel, config: JsonObject, optimizer: keras.optimizers.Optimizer
) -> str:
    """Sets what a file kept; the model gets its optimizer if something was left out.

    Args:
        model: being loaded, not compiled yet.
        config: what `compression_config` returned, deserialized; one of an earlier version may
            lack parts.
        optimizer: that of the file.

    Returns:
        What must be set again before the model is compiled, "" if nothing.
    """
    trained = model.network.trainable_variables
    undecayed = [trained[index] for index in config.get("undecayed", [])]
    if undecayed:
        optimizer.exclude_from_weight_decay(var_list=undecayed)
    if left_out := config.get("left_out", []):
        model.optimizer = optimizer
        optimizer.build(trained)
        return f"the file does not keep what {' and '.join(left_out)} set: call it again"
    model.pruner = config.get("pruner")
    formats = [form and WeightFormat(**form) for form in config.get("formats", [])]
    model.formats = {
        weight.path: form for weight, form in zip(trained, formats, strict=False) if form
    }
    return ""
