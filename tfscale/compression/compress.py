"""`tfscale compress`: fine-tunes a run under pruning into a new run, which evaluates and exports like any other."""

import dataclasses
from typing import Any

import tensorflow as tf

from tfscale.compress_config import CompressConfig, PruneConfig, describe
from tfscale.compression.pruning import Sparsity, measure_sparsity, prune
from tfscale.compression.tfmot import ConstantSparsity, PolynomialDecay, PruningSchedule
from tfscale.data.manifest import Manifest
from tfscale.errors import ConfigError, TokenizerError
from tfscale.training.language_model import LanguageModel
from tfscale.training.run import train
from tfscale.training.run_folder import Run, load_run
from tfscale.training.strategy import strategy


def compress_run(
    run: Run | str, config: CompressConfig, prune_config: PruneConfig, *, progress: bool = True
) -> dict[str, Any]:
    """Prunes a trained run while it is trained on; goes on where it stopped, like `train`.

    Args:
        run: the run or its folder; it is left as it is.
        config: where to write, and how long to fine-tune.
        prune_config: how much and what is pruned.
        progress: show progress on stderr.

    Returns:
        The summary of the new run, with `sparsity`: path of each pruned weight -> the fraction that is zero; and
        `validation_before`, that of the run.

    Raises:
        ConfigError: nothing to do, or options that contradict each other or the earlier state of the new run.
        TokenizerError: the data was tokenized by another tokenizer than the run's.

    Example:
        compress_run("run", CompressConfig(output="pruned", steps=500), PruneConfig(sparsity=0.8))
    """
    if not prune_config.sparsity:
        raise ConfigError("there is nothing to do: give prune.sparsity, such as 0.8")
    strategy(config.strategy)  # Workers must meet before TensorFlow is used, and a run is loaded by it.
    run = load_run(run) if isinstance(run, str) else run
    data = config.data or run.data_dir
    if data is None:
        raise ConfigError(f"the data that {run.directory} was trained on is gone; give data to fine-tune on")
    if Manifest.load(data, verify="size").tokenizer_digest != run.tokenizer.digest:
        raise TokenizerError(f"{data} was tokenized by another tokenizer than that of {run.directory}")
    schedule = schedule_of(prune_config, config.steps)
    train_config = dataclasses.replace(
        run.train_config, strategy=config.strategy, steps=config.steps, learning_rate=config.learning_rate,
        warmup_steps=min(run.train_config.warmup_steps, config.steps // 10),
    )  # fmt: skip

    def begin(model: LanguageModel) -> None:
        for weight, source in zip(model.network.weights, run.network.weights, strict=True):
            weight.assign(tf.convert_to_tensor(source.value))
        prune(
            model, schedule, embeddings=prune_config.embeddings, include=prune_config.include,
            exclude=prune_config.exclude, block_size=(prune_config.block_rows, prune_config.block_columns),
            m_by_n=(2, 4) if prune_config.pattern == "2:4" else None,
        )  # fmt: skip

    def finish(model: LanguageModel) -> dict[str, Any]:
        assert model.pruner is not None
        measured = measure_sparsity(model.pruner.choose(model.network))
        return {
            "sparsity": {entry.path: entry.fraction for entry in measured},
            "sparsity_of_pruned": _overall(measured),
            "validation_before": run.summary.get("validation"),
        }

    return train(
        run.model_config, train_config, data=data, output=config.output, progress=progress,
        begin=begin, finish=finish, described={"prune": describe(prune_config), "started_from": run.weights_digest},
    )  # fmt: skip


def schedule_of(config: PruneConfig, steps: int) -> PruningSchedule:
    """TF-MOT's schedule for the options and a fine-tuning of so many steps.

    The curve ends on a step at which the masks are made, so that the sparsity asked for is reached.
    """
    last = config.last_step(steps)
    if config.schedule == "constant" or config.pattern == "2:4":
        return ConstantSparsity(config.sparsity, config.begin_step, last, config.frequency)
    last = config.begin_step + max(1, (last - config.begin_step) // config.frequency) * config.frequency
    if last > steps:
        raise ConfigError(
            f"prune.frequency={config.frequency} leaves no second choice of what is pruned between begin_step="
            f"{config.begin_step} and the last of {steps} steps; lower it"
        )
    return PolynomialDecay(0.0, config.sparsity, config.begin_step, last, frequency=config.frequency)


def _overall(measured: list[Sparsity]) -> float:
    return sum(entry.zeros for entry in measured) / sum(entry.size for entry in measured)
