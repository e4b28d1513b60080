"""A training that begins with the weights of another run instead of random ones."""

import dataclasses

import tensorflow as tf

from tfscale.config import TrainConfig
from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest
from tfscale.distribution.strategy import strategy
from tfscale.errors import TokenizerError
from tfscale.files.json_text import JsonObject
from tfscale.runs.folder import load_run
from tfscale.runs.provenance import Provenance
from tfscale.runs.train import Beginning, train
from tfscale.training.language_model import LanguageModel


@checks_arguments
def train_from_run(
    start: str, train_config: TrainConfig, *, data: str, output: str, progress: bool = True
) -> JsonObject:
    """Trains from the architecture and the weights of a run; the optimizer begins anew, and is that
    of the run where none is named.

    Args:
        start: run folder, such as `tfscale import` writes; it is left as it is.
        train_config: how it is trained.
        data: DATA_DIR, prepared with the run's tokenizer.
        output: RUN_DIR to write, or to go on with.
        progress: show progress on stderr.

    Returns:
        The summary of the new run, with `started_from`: the folder and the validation of the run it
            began with.

    Raises:
        TokenizerError: the data was tokenized by another tokenizer than the run's.

    Example:
        train_from_run("gpt2", TrainConfig(steps=500), data="data", output="run")
    """
    # Workers must meet before TensorFlow is used, and a run is loaded by it.
    strategy(train_config.strategy)
    run = load_run(start)
    if Manifest.load(data, verify="size").tokenizer_digest != run.tokenizer.digest:
        raise TokenizerError(
            f"{data} was tokenized by another tokenizer than that of {start}; prepare it with"
            f" --tokenizer-from {start}"
        )

    model_config, summary, digest = run.model_config, run.summary, run.weights_digest
    # Given back when it was read, since it takes as much memory as the network that is trained.
    loaded = [run.network]

    def begin(model: LanguageModel) -> None:
        for weight, source in zip(model.network.weights, loaded.pop().weights, strict=True):
            weight.assign(tf.convert_to_tensor(source.value))

    # Weights that AdamW trained go on by AdamW, whatever the family's optimizer is by now.
    optimizer = train_config.optimizer or run.train_config.optimizer
    del run
    return train(
        model_config,
        dataclasses.replace(train_config, optimizer=optimizer),
        data=data,
        output=output,
        progress=progress,
        beginning=Beginning(
            begin,
            lambda model: {"started_from": {"run": start, "validation": summary.get("validation")}},
            Provenance(started_from=digest),
        ),
    )
