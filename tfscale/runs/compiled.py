"""The model of a run, compiled as its options say."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from tfscale.models import build_network
from tfscale.runs.reading import Reading
from tfscale.training.language_model import LanguageModel
from tfscale.training.optimizers import build_optimizer
from tfscale.training.xla import use_xla


def compiled_model(
    reading: Reading,
    chosen: tf.distribute.Strategy,
    set_up: Callable[[LanguageModel], object] = lambda model: None,
) -> LanguageModel:
    """Returns the model of a run, built and compiled in the scope of its strategy.

    Args:
        reading: the batches of the run, with the options of the model and of its training.
        chosen: the strategy.
        set_up: is called with the model before it is compiled, such as to assign weights.
    """
    model_config, config = reading.model_config, reading.config
    with chosen.scope():
        network = build_network(model_config, config.precision, config.seed)
        model = LanguageModel(network)
        set_up(model)
        options = config.compile_options(
            xla=use_xla(config, model_config),
            streams=reading.streams,
            pass_steps=reading.pass_steps,
        )
        model.compile(build_optimizer(config, network), **dataclasses.asdict(options))
    return model
