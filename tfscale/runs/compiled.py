"""The model of a run, compiled as its options say."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from tfscale.distribution.workers import Workers
from tfscale.models import build_network
from tfscale.runs.reading import Reading
from tfscale.training.language_model import LanguageModel
from tfscale.training.optimizers import build_optimizer
from tfscale.training.xla import Way, chosen_way, on_cpu, use_xla


def way_of_run(reading: Reading, chosen: tf.distribute.Strategy, kept: bool | None = None) -> Way:
    """Returns the way in which a run computes its steps: the chief's, on every worker.

    All workers must call this.

    Args:
        reading: the batches of the run, with the options of the model and of its training.
        chosen: the strategy.
        kept: whether a trial chose XLA before the run was resumed; None where there was none. The
            run goes on in the same way on any CPU, unless `train.xla` says otherwise.
    """
    model, config, workers = reading.model_config, reading.config, Workers(chosen)
    if not workers.is_chief:
        way = Way(use_xla(config, model))
    elif kept is not None and config.xla == "auto" and on_cpu():
        way = Way(kept and use_xla(config, model), tried=True)
    else:
        way = chosen_way(config, model, chosen.num_replicas_in_sync)
    return dataclasses.replace(way, xla=bool(workers.gather([float(way.xla)])[0, 0]))


def compiled_model(
    reading: Reading,
    chosen: tf.distribute.Strategy,
    set_up: Callable[[LanguageModel], object] = lambda model: None,
    way: Way | None = None,
) -> LanguageModel:
    """Returns the model of a run, built and compiled in the scope of its strategy.

    Args:
        reading: the batches of the run, with the options of the model and of its training.
        chosen: the strategy.
        set_up: is called with the model before it is compiled, such as to assign weights.
        way: that of `way_of_run`, which is asked where it is None.
    """
    model_config, config = reading.model_config, reading.config
    way = way_of_run(reading, chosen) if way is None else way
    with chosen.scope():
        network = build_network(model_config, config.precision, config.seed)
        model = LanguageModel(network)
        set_up(model)
        options = config.compile_options(
            xla=way.xla,
            streams=reading.streams,
            pass_steps=reading.pass_steps,
            document_start=reading.document_start,
            document_end=reading.document_end,
        )
        model.compile(build_optimizer(config, network), **dataclasses.asdict(options))
    return model
