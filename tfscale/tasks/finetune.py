"""`tfscale finetune`: labelled examples and a trained run to a model of a task, by the one train
step."""

import collections
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfscale import __version__
from tfscale.config import TrainConfig, to_dict
from tfscale.config.options import checks_arguments
from tfscale.config.tasks import WRITTEN, TaskConfig
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError, DataError
from tfscale.files.paths import atomic_directory, claim_directory, write_json
from tfscale.files.run_lock import only_writer
from tfscale.files.temporary import remove_tree
from tfscale.runs.folder import Run, load_run, save_network
from tfscale.tasks.encoding import ANSWER_TAGS
from tfscale.tasks.examples import OUTSIDE, Example, read_examples
from tfscale.tasks.fitting import Task, fit, unfinished_folder
from tfscale.tasks.metrics import HEADLINE, baseline, check_metrics, task_metrics
from tfscale.tasks.model import TASK_FILE, TaskModel
from tfscale.tasks.network import task_network
from tfscale.tasks.predictor import Encoder, build_encoder, describe_encoder
from tfscale.tasks.sequences import SequenceEncoder
from tfscale.tasks.text_network import text_lengths, text_network
from tfscale.training.checkpoint import array_digest
from tfscale.training.language_model import LanguageModel
from tfscale.training.schedule import build_optimizer

FILES = ("train", "validation", "test")
HELD_OUT = 0.1
"""Part of the training examples that validates where there are no validation files."""


@checks_arguments
def finetune(
    run: Run | str, config: TaskConfig, note: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Fine-tunes a run for a task.

    Args:
        run: a trained run or its folder; it is left as it is.
        config: the task, its files, and how it is trained.
        note: is called with a line for each stage and pass.

    Returns:
        What is also written to OUTPUT/summary.json: `task`, `labels`, `examples` (of each split),
            `epochs`,
        `parameters`, `trained_parameters`, `seconds`, and `validation` and `test`, each with the
        task's metrics and those of `baseline`; of a task that writes texts also `architecture`, and
        `cut`, of each split how many sources and targets were too long. If a signal stopped it:
            `task`, `output`, `interrupted`, which names the signal, and
        `steps`; the same call goes on from there.

    Raises:
        DataError: files that do not fit the task; the message names the line.
        ConfigError: options that do not fit the run, a package that its metrics need is not
            installed, or another process writes to the same folder.

    Example:
        finetune("run", TaskConfig(task="classify", output="task", train=["train.csv"]))["validation"]["f1"]
    """
    check_metrics(config.task)
    claim_directory(config.output, TASK_FILE, "a folder of tfscale finetune")
    splits = _read(config)
    run = load_run(run) if isinstance(run, str) else run
    labels = _labels(config, splits["train"])
    writes = config.task in WRITTEN
    lengths = text_lengths(run, config) if writes else {"sequence_length": _length(run, config)}
    encoder = build_encoder(config, run.tokenizer, {"labels": labels, **lengths})
    arrays = {name: _encode(encoder, examples) for name, examples in splits.items()}
    chosen = strategy(config.strategy)
    replicas = chosen.num_replicas_in_sync
    batch = math.ceil(config.global_batch_size / replicas) * replicas
    fitted = Task(
        _balanced(arrays["train"], splits["train"], config),
        arrays["validation"],
        batch,
        config.epochs,
        config.patience,
        config.seed,
    )
    total = fitted.steps * config.epochs
    began = time.perf_counter()
    with chosen.scope():
        network = (text_network if writes else task_network)(run, config, encoder)
        model = LanguageModel(network)
        options = TrainConfig(
            steps=total,
            warmup_steps=max(1, total // 10),
            weight_decay=0.01,
            learning_rate=config.peak_learning_rate,
        )
        model.compile(build_optimizer(options, network), seed=config.seed)
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    kind = encoder.architecture if isinstance(encoder, SequenceEncoder) else f"{len(labels)} labels"
    note(f"{config.task}: {len(splits['train']):,} examples, {kind}, {trained:,} weights to train")
    cut = _cut(encoder, splits, note)
    folder = unfinished_folder(config.output)
    with only_writer(folder, "written"):
        done = fit(model, fitted, folder, _begun(config, run, arrays), note)
        if done.interrupted:
            return {
                "task": config.task,
                "output": config.output,
                "interrupted": done.interrupted,
                "steps": done.steps,
            }
        summary: dict[str, Any] = {
            "task": config.task,
            "labels": labels,
            "examples": {name: len(rows) for name, rows in splits.items()},
            "epochs": done.epochs,
            "parameters": network.count_params(),
            "trained_parameters": trained,
            "seconds": time.perf_counter() - began,
        }
        if cut:
            summary |= {"architecture": kind, "cut": cut}
        found = TaskModel(config.output, network, encoder, config)
        summary |= _scores(found, splits)
        if told := _no_better(config.task, summary):
            note(told)
        _write(found, run, summary)
    remove_tree(folder)
    return {**summary, "output": config.output}


def _no_better(task: str, summary: dict[str, Any]) -> str:
    """A line for a model that is no better than the baseline on the test split, or else the
    validation split."""
    split = "test" if "test" in summary else "validation"
    metric = HEADLINE[task]
    value, base = summary[split][metric], summary[split]["baseline"][metric]
    if value > base:
        return ""
    return (
        f"the model is no better than the baseline: {split} {metric} {value:.4g}, baseline"
        f" {base:.4g}; give it more examples or passes, another --learning-rate, or --freeze"
    )


def _begun(
    config: TaskConfig, run: Run, arrays: dict[str, tuple[np.ndarray, ...]]
) -> dict[str, Any]:
    """What the weights depend on: a state that was begun with anything else is of no use."""
    examples = {
        f"{split}/{place}": part
        for split in ("train", "validation")
        for place, part in enumerate(arrays[split])
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


def _scores(found: TaskModel, splits: dict[str, list[Example]]) -> dict[str, Any]:
    """The task's metrics on the held-out splits, beside those of the baseline."""
    task, labels, several = (
        found.config.task,
        found.encoder.labels,
        bool(found.config.labels_separator),
    )
    guess = baseline(task, splits["train"], labels, several)
    return {
        name: (
            found.score(splits[name])
            | {"baseline": task_metrics(task, splits[name], guess(splits[name]), labels, several)}
        )
        for name in ("validation", "test")
        if name in splits
    }


def _read(config: TaskConfig) -> dict[str, list[Example]]:
    splits = {"train": read_examples(config.train, config)}
    for name in ("validation", "test"):
        if paths := getattr(config, name):
            splits[name] = read_examples(paths, config)
    if "validation" not in splits:
        rows = splits["train"]
        if len(rows) < 10:
            raise DataError(
                f"{len(rows)} training examples are too few to hold some out; give validation files"
            )
        held_out = _held_out(rows, np.random.default_rng(config.seed))
        splits["validation"] = [rows[at] for at in sorted(held_out)]
        splits["train"] = [row for at, row in enumerate(rows) if at not in held_out]
    return splits


def _held_out(rows: Sequence[Example], rng: np.random.Generator) -> set[int]:
    """Places of the examples that validate: at random, but of no label all that there are."""
    left = collections.Counter(label for row in rows for label in set(row.labels))
    chosen: set[int] = set()
    for at in rng.permutation(len(rows)).tolist():
        labels = set(rows[at].labels)
        if len(chosen) < max(1, int(len(rows) * HELD_OUT)) and all(
            left[label] > 1 for label in labels
        ):
            chosen.add(at)
            left.subtract(labels)
    if not chosen:
        raise DataError(
            "every training example has a label that no other one has; give validation files"
        )
    return chosen


def _length(run: Run, config: TaskConfig) -> int:
    length = config.sequence_length or run.model_config.sequence_length
    context = run.model_config.max_context
    if context is not None and length > context:
        raise ConfigError(f"sequence_length={length}, and the run's context is {context} tokens")
    return length


def _labels(config: TaskConfig, train: Sequence[Example]) -> list[str]:
    if config.task in WRITTEN:
        return []
    if config.task == "answer":
        return list(ANSWER_TAGS)
    found = {label for example in train for label in example.labels}
    if config.task == "tag":
        # What a later word of an entity is called, must be there where its first one is.
        found |= {OUTSIDE} | {f"I-{tag[2:]}" for tag in found if tag.startswith("B-")}
    elif len(found) < (1 if config.labels_separator else 2):
        raise DataError(
            f"the training examples have {len(found)} label(s) ({', '.join(found)}); a task needs 2"
            " or more"
        )
    return sorted(found)


def _cut(
    encoder: Encoder, splits: dict[str, list[Example]], note: Callable[[str], None]
) -> dict[str, dict[str, int]]:
    """Of each split how many sources and targets were too long; of a task that writes no text
    nothing."""
    found: dict[str, dict[str, int]] = {}
    if isinstance(encoder, SequenceEncoder):
        for name, examples in splits.items():
            rows = [encoder.encode(example) for example in examples]
            sources, targets = (
                sum(row.source_cut for row in rows),
                sum(row.target_cut for row in rows),
            )
            found[name] = {"sources": sources, "targets": targets}
            if sources or targets:
                note(
                    f"{name}: {sources:,} sources and {targets:,} targets are too long and were cut"
                )
    return found


def _encode(encoder: Encoder, examples: Sequence[Example]) -> tuple[np.ndarray, ...]:
    encoded: list[Any] = [encoder.encode(example) for example in examples]
    targets = [encoder.targets(*pair) for pair in zip(examples, encoded, strict=True)]
    ids = np.stack([one.ids for one in encoded])
    return (
        ids,
        np.stack([target for target, _ in targets]),
        np.stack([weights for _, weights in targets]),
    )


def _balanced(
    arrays: tuple[np.ndarray, ...], examples: Sequence[Example], config: TaskConfig
) -> tuple[np.ndarray, ...]:
    if config.balance == "none":
        return arrays
    ids, targets, weights = arrays
    numbers = targets[:, 0]
    counts = np.bincount(numbers)
    if config.balance == "weights":
        # Every label weighs the same, and the mean weight is 1.
        each = len(numbers) / ((counts > 0).sum() * np.maximum(counts, 1))
        return ids, targets, weights * each[numbers][:, None].astype(np.float32)
    rng = np.random.default_rng(config.seed)
    chosen = []
    for number in np.flatnonzero(counts):
        places = np.flatnonzero(numbers == number)
        chosen.append(np.concatenate([places, rng.choice(places, counts.max() - len(places))]))
    order = np.concatenate(chosen)
    return ids[order], targets[order], weights[order]


def _write(model: TaskModel, run: Run, summary: dict[str, Any]) -> None:
    described = {
        "config": to_dict(model.config),
        **describe_encoder(model.encoder),
        "run": os.path.basename(os.path.normpath(run.directory)),
        "tokenizer_digest": run.tokenizer.digest,
    }
    with atomic_directory(model.config.output) as folder:
        run.tokenizer.save(os.path.join(folder, "tokenizer"))
        write_json(os.path.join(folder, TASK_FILE), described)
        write_json(os.path.join(folder, "summary.json"), summary)
        # Keras adds the low-rank parts to the kernels when it saves.
        save_network(model.network, os.path.join(folder, "model.keras"))
