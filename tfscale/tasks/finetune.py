"""`tfscale finetune`: labelled examples and a trained run to a model of a task, by the one train
step."""

import math
import os
import time
from collections.abc import Callable

import numpy as np

from tfscale import __version__
from tfscale.config import TrainConfig, make_config, to_dict
from tfscale.config.options import checks_arguments
from tfscale.config.tasks import TaskConfig
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError
from tfscale.files.folders import atomic_directory, claim_directory
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import write_json
from tfscale.files.run_lock import only_writer
from tfscale.files.temporary import remove_tree
from tfscale.registry import TASKS
from tfscale.runs.folder import Run, load_run, save_network
from tfscale.tasks.fitting import FitPlan, fit, unfinished_folder
from tfscale.tasks.model import TASK_FILE, TaskModel
from tfscale.tasks.predictor import task_of
from tfscale.tasks.splits import FILES, Arrays, Splits, balanced, encode_examples, read_splits
from tfscale.tasks.task import Task
from tfscale.training.checkpoint import array_digest
from tfscale.training.language_model import LanguageModel
from tfscale.training.optimizers import build_optimizer


@checks_arguments
def finetune(
    run: Run | str,
    config: TaskConfig | None = None,
    note: Callable[[str], None] = lambda text: None,
    **options: object,
) -> JsonObject:
    """Fine-tunes a run for a task.

    Args:
        run: a trained run or its folder; it is not changed.
        config: the task, its files, and how it is trained.
        note: is called with a line for each stage and pass.
        **options: the fields of `TaskConfig`, instead of `config`.

    Returns:
        The content of OUTPUT/summary.json: `task`, `labels`, `examples` (of each split), `epochs`,
        `parameters`, `trained_parameters`, `seconds`, and `validation` and `test`, each with the
        task's metrics and those of `baseline`; for a task that writes texts also `architecture`,
        and `cut`: how many sources and targets of each split were too long. If a signal stopped
        it: `task`, `output`, `interrupted`, which names the signal, and `steps`; the same call goes
        on from there.

    Raises:
        DataError: files that do not fit the task; the message names the line.
        ConfigError: options that do not fit the run, a package for the metrics that is not
            installed, or another process that writes to the same folder.

    Example:
        tfscale.finetune("run", task="classify", output="task", train=["train.csv"])["validation"]
    """
    if config is not None and options:
        raise ConfigError(f"give either config or options of it; received both ({min(options)})")
    config = config or make_config(TaskConfig, options)
    task_class = TASKS.get(config.task)
    task_class.check_installed()
    claim_directory(config.output, TASK_FILE, "a folder of tfscale finetune")
    splits = read_splits(config)
    run = load_run(run) if isinstance(run, str) else run
    task = task_of(config, run.tokenizer, task_class.shape_for(run, config, splits["train"]))
    arrays = {name: encode_examples(task, examples) for name, examples in splits.items()}
    began = time.perf_counter()
    model, plan = _compiled(run, task, arrays)
    trained = sum(int(np.prod(weight.shape)) for weight in model.network.trainable_weights)
    note(
        f"{task.name}: {len(splits['train']):,} examples, {task.network_note},"
        f" {trained:,} weights to train"
    )
    cuts = task.summarize_cuts(splits, note)
    folder = unfinished_folder(config.output)
    with only_writer(folder, "written"):
        done = fit(model, plan, folder, _begun(config, run, arrays), note)
        if done.interrupted:
            stopped = {"interrupted": done.interrupted, "steps": done.steps}
            return {"task": task.name, "output": config.output, **stopped}
        summary: JsonObject = {
            "task": task.name,
            "labels": task.labels,
            "examples": {name: len(rows) for name, rows in splits.items()},
            "epochs": done.epochs,
            "parameters": model.network.count_params(),
            "trained_parameters": trained,
            "seconds": time.perf_counter() - began,
        }
        task_model = TaskModel(config.output, model.network, task)
        summary |= cuts | _scores(task_model, splits)
        if no_better := _no_better(task, summary):
            note(no_better)
        _write(task_model, run, summary)
    remove_tree(folder)
    return {**summary, "output": config.output}


def _compiled(run: Run, task: Task, arrays: dict[str, Arrays]) -> tuple[LanguageModel, FitPlan]:
    """Returns the model to train, compiled under the strategy of the options, and the plan."""
    config = task.config
    chosen = strategy(config.strategy)
    replicas = chosen.num_replicas_in_sync
    plan = FitPlan(
        train=balanced(arrays["train"], config),
        validation=arrays["validation"],
        batch=math.ceil(config.global_batch_size / replicas) * replicas,
        epochs=config.epochs,
        patience=config.patience,
        seed=config.seed,
    )
    steps = plan.steps * config.epochs
    with chosen.scope():
        network = task.network(run)
        model = LanguageModel(network)
        # Its learning rates are AdamW's, whatever the base was trained by.
        options = TrainConfig(
            optimizer="adamw",
            steps=steps,
            warmup_steps=max(1, steps // 10),
            weight_decay=0.01,
            learning_rate=config.peak_learning_rate,
        )
        model.compile(build_optimizer(options, network), seed=config.seed)
    return model, plan


def _begun(config: TaskConfig, run: Run, arrays: dict[str, Arrays]) -> dict[str, object]:
    """Returns all that the weights depend on: a state that was begun with anything else is of no
    use."""
    examples = {
        f"{split}/{number}": array
        for split in ("train", "validation")
        for number, array in enumerate(arrays[split])
    }
    options = {
        name: value for name, value in to_dict(config).items() if name not in ("output", *FILES)
    }
    return {
        "options": options,
        "run": run.weights_digest,
        "examples": array_digest(examples),
        "tfscale_version": __version__,
    }


def _scores(model: TaskModel, splits: Splits) -> dict[str, JsonObject]:
    """Returns the task's metrics on the held-out splits, beside those of the baseline."""
    task, scores = model.task, dict[str, JsonObject]()
    for name in ("validation", "test"):
        if name in splits:
            guesses = task.baseline(splits["train"], splits[name])
            base = task.metrics(splits[name], guesses)
            scores[name] = model.score(splits[name]) | {"baseline": base}
    return scores


def _no_better(task: Task, summary: JsonObject) -> str:
    """Returns a line for a model that is no better than the baseline on the test split, or else the
    validation split; empty for one that is."""
    split = "test" if "test" in summary else "validation"
    value, base = summary[split][task.metric], summary[split]["baseline"][task.metric]
    if value > base:
        return ""
    return (
        f"the model is no better than the baseline: {split} {task.metric} {value:.4g}, baseline"
        f" {base:.4g}; give it more examples or passes, another --learning-rate, or --freeze"
    )


def _write(model: TaskModel, run: Run, summary: JsonObject) -> None:
    described = {
        "config": to_dict(model.config),
        **model.task.shape.to_dict(),
        "run": os.path.basename(os.path.normpath(run.directory)),
        "tokenizer_digest": run.tokenizer.digest,
    }
    with atomic_directory(model.config.output) as folder:
        run.tokenizer.save(os.path.join(folder, "tokenizer"))
        write_json(os.path.join(folder, TASK_FILE), described)
        write_json(os.path.join(folder, "summary.json"), summary)
        # Keras adds the low-rank parts to the kernels when it saves.
        save_network(model.network, os.path.join(folder, "model.keras"))
