"""The time of a step on this machine, and the number of steps that fit into a time."""

import dataclasses
import time

from tfscale.config import NetworkConfig, TrainConfig
from tfscale.data.manifest import Manifest
from tfscale.distribution.strategy import has_servers, strategy
from tfscale.files.json_text import JsonObject
from tfscale.runs.compiled import compiled_model
from tfscale.runs.reading import Reading

MINIMUM_STEPS = 100
"""Steps that are trained even where there is no time for them."""


def steps_within(seconds: float, seconds_per_step: float) -> int:
    """Returns the steps, in whole hundreds, that fit into the time; at least `MINIMUM_STEPS`."""
    return max(MINIMUM_STEPS, int(seconds / seconds_per_step) // 100 * 100)


def seconds_per_step(
    data: str, model_config: NetworkConfig, train_config: TrainConfig, steps: int = 40
) -> float:
    """Measures the train step, without its compilation, on a model that is thrown away.

    Args:
        data: DATA_DIR.
        model_config: the model, with its vocabulary size.
        train_config: batch, precision and the rest of the step.
        steps: how many to time.
    """
    servers = has_servers(train_config.strategy)
    train_config = train_config.for_model(model_config, by_entries=servers)
    in_order = dataclasses.replace(train_config, shuffle_windows=1)
    reading = Reading(data, Manifest.load(data), model_config, in_order)
    model = compiled_model(reading, strategy(train_config.strategy))
    dataset = reading.training()
    calls: JsonObject = {
        "steps_per_call": train_config.log_every,
        "verbose": 0,
        "checked": True,
    }
    model.fit(dataset, steps_per_epoch=train_config.log_every, **calls)
    began = time.perf_counter()
    model.fit(dataset, steps_per_epoch=steps, **calls)
    return (time.perf_counter() - began) / steps
