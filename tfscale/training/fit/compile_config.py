"""Keeps the arguments of `LanguageModel.compile` in a Keras file, and compiles by them."""

import dataclasses

import keras

from tfscale.compat.keras import decays_weight
from tfscale.compat.keras_metrics import given_metrics
from tfscale.files.json_text import JsonObject
from tfscale.models.weight_formats import WeightFormat
from tfscale.training.fit.model import TrainedModel
from tfscale.training.step import TrainStep


def compile_config(model: keras.Model, step: TrainStep) -> JsonObject:
    """Returns what `compile` was given, and what was set before it, for Keras to serialize.

    Weights are named by their index among the network's trainable weights, because their paths can
    differ when the network is made again. A teacher, or a pruner whose schedule is a class of the
    user's, is not kept; `left_out` names it.
    """
    trained = step.network.trainable_variables
    formats = step.formats if any(step.formats) else []
    pruner = step.pruner if step.pruner is not None and step.pruner.is_kept() else None
    left_out = {
        "tfscale.compress.prune": step.pruner is not pruner,
        "tfscale.compress.distill": step.teacher is not None,
    }
    undecayed = [
        index for index, weight in enumerate(trained) if not decays_weight(step.optimizer, weight)
    ]
    metrics, weighted_metrics = given_metrics(model)
    of_keras = {
        "metrics": metrics,
        "weighted_metrics": weighted_metrics,
        "steps_per_execution": model.steps_per_execution if model.steps_per_execution > 1 else 0,
    }
    return {
        "keras": {name: value for name, value in of_keras.items() if value},
        "optimizer": step.optimizer,
        "undecayed": undecayed,
        "options": dataclasses.asdict(step.options),
        "formats": [form and dataclasses.asdict(form) for form in formats],
        "pruner": pruner,
        "left_out": [name for name, is_left_out in left_out.items() if is_left_out],
    }


def compile_as(model: TrainedModel, config: JsonObject) -> str:
    """Compiles a `LanguageModel` as `compile_config` says.

    The model gets its optimizer alone if something was left out of the file, or if the file is of
    an earlier version, which did not keep the other arguments.

    Returns:
        What the user must do before training goes on, "" if nothing.
    """
    config = keras.saving.deserialize_keras_object(config)
    optimizer, trained = config["optimizer"], model.network.trainable_variables
    undecayed = [trained[index] for index in config.get("undecayed", [])]
    if undecayed:
        optimizer.exclude_from_weight_decay(var_list=undecayed)
    if "options" not in config:
        todo = "the file keeps the optimizer, but not the other arguments of compile"
    elif config["left_out"]:
        todo = f"the file does not keep what {' and '.join(config['left_out'])} set: call it again"
    else:
        model.pruner = config["pruner"]
        formats = [form and WeightFormat(**form) for form in config["formats"]]
        model.formats = {
            weight.path: form for weight, form in zip(trained, formats, strict=False) if form
        }
        model.compile(optimizer, **config.get("keras", {}), **config["options"])
        return ""
    model.optimizer = optimizer
    optimizer.build(trained)
    return f"{todo}, then compile(model.optimizer, ...)"
