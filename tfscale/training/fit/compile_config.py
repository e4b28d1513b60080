"""Keeps the arguments of `LanguageModel.compile` in a Keras file, and compiles by them."""

import dataclasses

import keras

from tfscale.compat.keras_metrics import given_metrics
from tfscale.config.step import CompileOptions
from tfscale.files.json_text import JsonObject
from tfscale.training.fit.compression_config import compression_config, set_compression
from tfscale.training.fit.model import TrainedModel
from tfscale.training.step import TrainStep


def compile_config(model: keras.Model, step: TrainStep, options: CompileOptions) -> JsonObject:
    """Returns what `compile` was given, and what was set before it, for Keras to serialize.

    See `compression_config` for what is set before.

    Args:
        model: the model.
        step: its train step.
        options: what `compile` was given for the step, before the machine at hand had a say.
    """
    metrics, weighted_metrics = given_metrics(model)
    of_keras = {
        "metrics": metrics,
        "weighted_metrics": weighted_metrics,
        "steps_per_execution": model.steps_per_execution if model.steps_per_execution > 1 else 0,
    }
    return {
        "keras": {name: value for name, value in of_keras.items() if value},
        "optimizer": step.optimizer,
        "options": dataclasses.asdict(options),
        **compression_config(step, step.formats, step.teacher),
    }


def compile_as(model: TrainedModel, config: JsonObject) -> str:
    """Compiles a `LanguageModel` as `compile_config` says.

    The model gets its optimizer alone if something was left out of the file, or if the file is of
    an earlier version, which did not keep the other arguments.

    Returns:
        What the user must do before training goes on, "" if nothing.
    """
    config = keras.saving.deserialize_keras_object(config)
    optimizer = config["optimizer"]
    todo = set_compression(model, config, optimizer)
    if "options" not in config:
        model.optimizer = optimizer
        optimizer.build(model.network.trainable_variables)
        todo = "the file keeps the optimizer, but not the other arguments of compile"
    if not todo:
        model.compile(optimizer, **config.get("keras", {}), **config["options"])
        return ""
    return f"{todo}, then compile(model.optimizer, ...)"
