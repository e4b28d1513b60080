"""What a Keras file keeps of `LanguageModel.compile`, so that a loaded model goes on as if it had never been saved."""

import dataclasses
from typing import Any

import keras

from tfscale.models.weight_formats import WeightFormat
from tfscale.training.step import TrainStep


def compile_config(step: TrainStep) -> dict[str, Any]:
    """Returns what `compile` was given, and what was set before it, for Keras to serialize.

    Weights are named by their place among the network's trainable ones, because the paths of a network that is made
    once more can differ. A teacher, and a pruner with a schedule of one's own, are not kept but named in `left_out`.
    """
    trained = step.network.trainable_variables
    decays = getattr(step.optimizer, "_use_weight_decay", lambda weight: True)
    formats = step.formats if any(step.formats) else []
    pruner = step.pruner if step.pruner is not None and step.pruner.is_kept() else None
    left_out = {"tfscale.compress.prune": step.pruner is not pruner, "tfscale.compress.distill": step.teacher is not None}
    return {
        "optimizer": step.optimizer,
        "undecayed": [place for place, weight in enumerate(trained) if not decays(weight)],
        "options": dataclasses.asdict(step.options),
        "formats": [form and dataclasses.asdict(form) for form in formats],
        "pruner": pruner,
        "left_out": [name for name, is_left_out in left_out.items() if is_left_out],
    }


def compile_as(model: Any, config: dict[str, Any]) -> str:
    """Compiles a `LanguageModel` as `compile_config` says.

    Where something was left out of the file, or the file is of a version that did not keep the options, the model gets
    its optimizer alone.

    Returns:
        What to do before training goes on; "" where that is nothing.
    """
    config = keras.saving.deserialize_keras_object(config)
    optimizer, trained = config["optimizer"], model.network.trainable_variables
    undecayed = [trained[place] for place in config.get("undecayed", [])]
    if undecayed:
        optimizer.exclude_from_weight_decay(var_list=undecayed)
    if "options" not in config:
        todo = "the file keeps the optimizer, but not the other arguments of compile"
    elif config["left_out"]:
        todo = f"the file does not keep what {' and '.join(config['left_out'])} set: call it again"
    else:
        model.pruner = config["pruner"]
        formats = [form and WeightFormat(**form) for form in config["formats"]]
        model.formats = {weight.path: form for weight, form in zip(trained, formats, strict=False) if form}
        model.compile(optimizer, **config["options"])
        return ""
    model.optimizer = optimizer
    optimizer.build(trained)
    return f"{todo}, then compile(model.optimizer, ...)"
