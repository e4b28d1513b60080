"""`tfscale compress`: fine-tunes a run, smaller and sparse, into a new one that evaluates and
exports like any."""

import dataclasses
import os

import tensorflow as tf

from tfscale.compat.tfmot import ConstantSparsity, PolynomialDecay, PruningSchedule
from tfscale.compress.factorize import lower_rank
from tfscale.compress.pruning import prune
from tfscale.compress.sparsity import Sparsity, measure_sparsity
from tfscale.compress.structured import shrink_units
from tfscale.compress.tuning import (
    check_teacher,
    copy_in_scope,
    data_tokenizer_digest,
    distill,
    quantize_aware,
)
from tfscale.config import TrainConfig
from tfscale.config.compression import CompressConfig, DistillConfig, PruneConfig
from tfscale.config.options import checks_arguments, to_dict
from tfscale.config.shrinking import RANKS, ShrinkConfig
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import training_dataset
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError, TokenizerError
from tfscale.evaluation.evaluate import evaluate_run
from tfscale.files.json_text import JsonObject
from tfscale.models import LanguageNetwork
from tfscale.models.recipe import recipe
from tfscale.runs.folder import Run, load_run
from tfscale.runs.provenance import Provenance
from tfscale.runs.train import Beginning, train
from tfscale.training.language_model import LanguageModel


@checks_arguments
def compress_run(
    run: Run | str,
    config: CompressConfig,
    prune_config: PruneConfig | None = None,
    shrink_config: ShrinkConfig | None = None,
    distill_config: DistillConfig | None = None,
    *,
    progress: bool = True,
) -> JsonObject:
    """Takes units and weights out of a trained run and trains it on; goes on where it stopped, like
    `train`.

    Args:
        run: the run or its folder; it stays as it is.
        config: where to write, and how long to fine-tune.
        prune_config: how many and which weights become zero while it is trained; None prunes
            nothing.
        shrink_config: which units are removed before; None removes nothing.
        distill_config: the teacher whose predictions are learned besides the text; None has no
            teacher.
        progress: show progress on stderr.

    Returns:
        The summary of the new run, with `sparsity`: path of each pruned weight -> the fraction that
        is zero; `sparsity_of_pruned` over all of them; and `validation_before` and
        `parameters_before`, those of the run.

    Raises:
        ConfigError: nothing to do, or options that contradict each other or the earlier state of
            the new run.
        TokenizerError: the data was tokenized by another tokenizer than the run's.

    Example:
        compress_run("run", CompressConfig(output="pruned", steps=500), PruneConfig(sparsity=0.8))
    """
    prune_config, shrink_config = prune_config or PruneConfig(), shrink_config or ShrinkConfig()
    distill_config = distill_config or DistillConfig()
    rounds = recipe(config.quantize).rounds
    if not prune_config.sparsity and not shrink_config.shrinks and not rounds:
        raise ConfigError(
            "there is nothing to do: give prune.sparsity, quantize, or a size such as"
            " shrink.num_heads"
        )
    # Workers must meet before TensorFlow is used, and a run is loaded by it.
    strategy(config.strategy)
    run = load_run(run) if isinstance(run, str) else run
    data = _data_for(run, config.data)
    teacher = load_run(distill_config.teacher) if distill_config.teacher else run
    if distill_config.weight:
        check_teacher(teacher, run.tokenizer.digest, run.model_config.sequence_length, data)
    schedule = schedule_of(prune_config, config.steps) if prune_config.sparsity else None
    network = shrink(run, shrink_config, data)
    train_config = _train_config(run, config, schedule is not None)

    def begin(model: LanguageModel) -> None:
        for weight, source in zip(model.network.weights, network.weights, strict=True):
            weight.assign(tf.convert_to_tensor(source.value))
        if schedule is not None:
            _prune(model, schedule, prune_config)
        if rounds:
            quantize_aware(model, config.quantize)
        if distill_config.weight:
            lesson = copy_in_scope(teacher.network, train_config)
            distill(model, lesson, distill_config.weight, distill_config.temperature)

    before = _validation_of(run, data)

    def finish(model: LanguageModel) -> JsonObject:
        measured = measure_sparsity(model.pruner.choose(model.network)) if model.pruner else []
        return {
            "sparsity": {entry.path: entry.fraction for entry in measured},
            "sparsity_of_pruned": _overall(measured),
            "validation_before": before,
            "parameters_before": run.network.count_params(),
        }

    provenance = Provenance(
        prune=to_dict(prune_config),
        shrink=to_dict(shrink_config),
        quantize={"recipe": config.quantize},
        distill=to_dict(distill_config),
        started_from=run.weights_digest,
        teacher_digest=teacher.weights_digest if distill_config.weight else None,
    )
    return train(
        network.config,
        train_config,
        data=data,
        output=config.output,
        progress=progress,
        beginning=Beginning(begin, finish, provenance),
    )


def _data_for(run: Run, data: str | None) -> str:
    """Returns the folder of `data`, or of what a run was trained on, after a check."""
    data = data or run.data_dir
    if data is None:
        raise ConfigError(
            f"the data that {run.directory} was trained on is gone; give data to fine-tune on"
        )
    if data_tokenizer_digest(data) != run.tokenizer.digest:
        raise TokenizerError(
            f"{data} was tokenized by another tokenizer than that of {run.directory}"
        )
    return data


def _train_config(run: Run, config: CompressConfig, prunes: bool) -> TrainConfig:
    return dataclasses.replace(
        # The learning rate of the options is AdamW's.
        run.train_config.with_optimizer("adamw").of_steps(config.steps),
        strategy=config.strategy,
        learning_rate=config.learning_rate,
        warmup_steps=min(run.train_config.warmup_steps, config.steps // 10),
        # The state of lowest loss is often one before the last zeros came.
        result="last" if prunes else run.train_config.result,
    )


def _prune(model: LanguageModel, schedule: PruningSchedule, config: PruneConfig) -> None:
    prune(
        model,
        schedule,
        embeddings=config.embeddings,
        include=config.include,
        exclude=config.exclude,
        block_size=(config.block_rows, config.block_columns),
        m_by_n=(2, 4) if config.pattern == "2:4" else None,
    )


def _validation_of(run: Run, data: str) -> JsonObject | None:
    """Returns the validation of a run on this data; None if there is no validation split."""
    if run.data_dir is not None and os.path.realpath(data) == os.path.realpath(run.data_dir):
        return run.summary.get("validation")
    measured = "validation" in Manifest.load(data, verify="size").splits
    return evaluate_run(run, data_dir=data) if measured else None


def shrink(run: Run, config: ShrinkConfig, data: str) -> LanguageNetwork:
    """Returns the network of a run with the sizes of `config`; the run's own where it names none.

    Args:
        run: it stays as it is.
        config: the sizes.
        data: data folder, from whose training split saliency is taken.
    """
    network, batches = run.network, []
    if config.by == "saliency":
        dataset = training_dataset(
            data,
            sequence_length=run.model_config.sequence_length,
            global_batch_size=run.train_config.global_batch_size,
            seed=0,
        )
        batches = list(dataset.take(config.saliency_batches))
    for size, value in config.sizes().items():
        if size in RANKS:
            network = lower_rank(network, size, value)
        else:
            network = shrink_units(network, size, value, batches)
    return network


def schedule_of(config: PruneConfig, steps: int) -> PruningSchedule:
    """Returns TF-MOT's schedule for the options and a fine-tuning of so many steps.

    The curve ends on a step at which the masks are made, so that the sparsity asked for is reached.
    """
    last = config.last_step(steps)
    if config.schedule == "constant" or config.pattern == "2:4":
        return ConstantSparsity(config.sparsity, config.begin_step, last, config.frequency)
    choices = max(1, (last - config.begin_step) // config.frequency)
    last = config.begin_step + choices * config.frequency
    if last > steps:
        raise ConfigError(
            f"prune.frequency={config.frequency} leaves no second choice of what is pruned between"
            f" begin_step={config.begin_step} and the last of {steps} steps; lower it"
        )
    return PolynomialDecay(
        0.0, config.sparsity, config.begin_step, last, frequency=config.frequency
    )


def _overall(measured: list[Sparsity]) -> float:
    return sum(entry.zeros for entry in measured) / max(1, sum(entry.size for entry in measured))
