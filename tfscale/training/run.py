"""A run: from a data folder and two configs to a trained model in RUN_DIR, resumable, and back from there."""

import contextlib
import dataclasses
import hashlib
import os
import time
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
import yaml

import tfscale.models as models
from tfscale.config import ModelConfig, TrainConfig, to_dict
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import data_errors, evaluation_dataset, steps_per_epoch, training_dataset
from tfscale.errors import CheckpointError, ConfigError, DataError, TrainingError
from tfscale.files import atomic_write, claim_directory, open_file, read_json, write_json
from tfscale.progress import ProgressLine
from tfscale.score import Score
from tfscale.text.tokenizers import Tokenizer, load_tokenizer
from tfscale.training.batches import check_divisible
from tfscale.training.checkpoint import Checkpoints, assign_arrays, network_state, read_arrays
from tfscale.training.language_model import LanguageModel
from tfscale.training.recorder import RunRecorder
from tfscale.training.schedule import build_optimizer
from tfscale.training.step import options_from
from tfscale.training.strategy import describe, strategy

MAY_CHANGE = {
    "strategy", "xla", "validate_every", "validation_batches", "checkpoint_every", "log_every", "result", "tensorboard",
    "micro_batches",
}  # fmt: skip
"""Training options that a resumed run may set anew: they do not change what the steps compute beyond rounding."""


@dataclass(frozen=True)
class Run:
    """A trained model and what belongs to it, read back from its folder."""

    directory: str
    network: models.Network
    tokenizer: Tokenizer
    model_config: ModelConfig
    train_config: TrainConfig
    data_dir: str | None
    summary: dict[str, Any]


def train(
    model_config: ModelConfig,
    train_config: TrainConfig,
    *,
    data: str,
    output: str,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains a model on a data folder; goes on where it stopped if the run folder has a checkpoint.

    Args:
        model_config: the architecture; a vocabulary size of 0 takes the tokenizer's.
        train_config: batch, optimizer, schedule and so on.
        data: DATA_DIR of `tfscale prepare`.
        output: RUN_DIR to write; absent, empty, or an earlier state of the same run.
        progress: show progress on stderr.

    Returns:
        The summary that is also written to RUN_DIR/summary.json: steps, tokens, loss, tokens_per_second,
        input_wait_fraction, validation (as `evaluate` gives it), completed, and more.

    Raises:
        ConfigError: configs that contradict the data, the devices, or the earlier state of the run.
        DataError: the data folder is missing or damaged.
        CheckpointError: no checkpoint is whole, or they are of another model.
        TrainingError: the loss is no longer finite.

    Example:
        train(TransformerConfig(hidden_dim=128), TrainConfig(steps=500), data="data", output="run")
    """
    manifest = Manifest.load(data, verify="sha256")
    tokenizer = load_tokenizer(data)
    model_config = fit_to_data(model_config, manifest)
    chosen = strategy(train_config.strategy)
    check_divisible(train_config.global_batch_size, chosen.num_replicas_in_sync, train_config.micro_batches)
    epoch_steps = steps_per_epoch(manifest, model_config.sequence_length, train_config.global_batch_size)
    claim_directory(output, "config.yaml", "a run folder")
    write_run_files(output, model_config, train_config, data, manifest, tokenizer)

    with chosen.scope():
        network = models.build_network(model_config, train_config.precision, train_config.seed)
        model = LanguageModel(network)
        options = dataclasses.asdict(options_from(train_config, use_xla(train_config, model_config)))
        model.compile(build_optimizer(train_config, network), **options)
    step = model.train_step_runner
    assert step is not None

    with ProgressLine("train", train_config.steps, enabled=progress) as line:
        line.note(
            f"{model_config.family} of {models.parameter_count(model_config):,} parameters on {describe(chosen)}; "
            f"{train_config.global_batch_size * model_config.sequence_length:,} tokens a step, "
            f"{epoch_steps:,} steps a pass over the data"
        )
        checkpoints = Checkpoints(os.path.join(output, "checkpoints"))
        done, damaged = checkpoints.restore_latest(step.state())
        for text in damaged:
            line.note(f"{text}; using the one before")
        line.start = done
        validation = None
        if "validation" in manifest.splits:
            validation = evaluation_dataset(
                data, "validation", sequence_length=model_config.sequence_length,
                batch_size=train_config.global_batch_size,
            )  # fmt: skip
        partly = train_config.validation_batches or None
        recorder = RunRecorder(
            output, train_config, None if validation is None else lambda: model.summed_loss(validation, partly),
            checkpoints, {"model": _named(model_config), "tokenizer_digest": manifest.tokenizer_digest}, line,
        )  # fmt: skip
        recorder.set_model(model)
        recorder.resume(done)
        if done:
            line.note(f"going on at step {done:,}")
        seconds = 0.0
        if done < train_config.steps:
            dataset = training_dataset(
                data, sequence_length=model_config.sequence_length, global_batch_size=train_config.global_batch_size,
                seed=train_config.seed, start_step=done, shuffle_windows=train_config.shuffle_windows,
            )  # fmt: skip
            began = time.perf_counter()
            with data_errors(data), _naming_checkpoint(checkpoints):
                model.fit(
                    dataset, epochs=1, steps_per_epoch=train_config.steps - done, verbose=0, callbacks=[recorder],
                    steps_per_call=train_config.log_every,
                    stop_at_multiples_of=(train_config.validate_every, train_config.checkpoint_every),
                )  # fmt: skip
            seconds = time.perf_counter() - began
        return _finish(output, recorder, train_config, validation, manifest, seconds)


def _finish(
    output: str,
    recorder: RunRecorder,
    config: TrainConfig,
    validation: tf.data.Dataset | None,
    manifest: Manifest,
    seconds: float,
) -> dict[str, Any]:
    """Chooses the run's weights, writes model.keras and summary.json, and validates on the whole split."""
    model = recorder.model
    step = int(recorder.runner.step.numpy())
    earlier = _read_summary(output)
    rate, waited = (
        recorder.rates() if seconds else (earlier.get("tokens_per_second"), earlier.get("input_wait_fraction"))
    )
    summary: dict[str, Any] = {
        "steps": step,
        "tokens": recorder.tokens,
        "loss": recorder.last_logs.get("loss", earlier.get("loss")),
        "tokens_per_second": rate,
        "input_wait_fraction": waited,
        "seconds": seconds + earlier.get("seconds", 0.0),
        "parameters": model.network.count_params(),
        "completed": step >= config.steps,
        "interrupted": recorder.interrupted,
        "result": "last",
        "result_step": step,
        "validation": None,
    }
    best = recorder.checkpoints.best_path
    with model.averaged_weights():
        if config.result == "best" and summary["completed"] and tf.io.gfile.exists(best):
            arrays, meta = read_arrays(best)
            assign_arrays(best, arrays, network_state(model.network))
            summary |= {"result": "best", "result_step": meta["step"]}
        save_network(model.network, os.path.join(output, "model.keras"))
        if validation is not None and summary["completed"]:
            nll, tokens = model.summed_loss(validation, averaged=False)
            score = Score(nll, round(tokens), manifest.splits["validation"].utf8_bytes)
            summary["validation"] = score.to_dict()
    write_json(os.path.join(output, "summary.json"), summary)
    return summary


def load_run(directory: str) -> Run:
    """Reads a run folder back.

    Args:
        directory: RUN_DIR of `train`.

    Raises:
        CheckpointError: the folder is not a run, or its model is missing or damaged.

    Example:
        run = load_run("run")
        logits = run.network(ids)
    """
    path = os.path.join(directory, "config.yaml")
    if not tf.io.gfile.exists(path):
        raise CheckpointError(f"{directory} is not a run folder: it has no config.yaml")
    with open_file(path, "r") as file:
        config = yaml.safe_load(file)
    model_path = os.path.join(directory, "model.keras")
    if not tf.io.gfile.exists(model_path):
        raise CheckpointError(f"{directory} has no model.keras yet: run the same train command until it ends")
    try:
        network = keras.saving.load_model(model_path, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{model_path} is damaged ({str(error).splitlines()[0]})") from error
    train_config = TrainConfig(**config["train"])
    data = config.get("data")
    return Run(
        directory=directory,
        network=network,
        tokenizer=load_tokenizer(directory),
        model_config=network.config,
        train_config=train_config,
        data_dir=data if data and tf.io.gfile.exists(os.path.join(data, "manifest.json")) else None,
        summary=_read_summary(directory),
    )


def fit_to_data(config: ModelConfig, manifest: Manifest) -> ModelConfig:
    """The config with the data's vocabulary size, or an error where it names another one."""
    if config.vocabulary_size not in (0, manifest.vocabulary_size):
        raise ConfigError(
            f"model.vocabulary_size={config.vocabulary_size}, but the data was tokenized with "
            f"{manifest.vocabulary_size} entries; leave the option out to take the data's"
        )
    return dataclasses.replace(config, vocabulary_size=manifest.vocabulary_size)


def use_xla(config: TrainConfig, model: ModelConfig) -> bool:
    """Whether forward and backward are compiled by XLA; `auto` spares recurrent layers on a GPU, which use cuDNN."""
    if config.xla == "auto":
        return not (model.family == "lstm" and tf.config.list_logical_devices("GPU"))
    return config.xla == "on"


def write_run_files(
    output: str,
    model_config: ModelConfig,
    train_config: TrainConfig,
    data: str,
    manifest: Manifest,
    tokenizer: Tokenizer,
) -> None:
    """Writes config.yaml and the tokenizer, after checking them against an earlier state of the run.

    Raises:
        ConfigError: the run was begun with another model, other data, or training options that change its result.
    """
    now: dict[str, Any] = {
        "model": _named(model_config),
        "train": to_dict(train_config),
        "data": data if "://" in data else os.path.abspath(data),
        "data_digest": _data_digest(manifest),
        "tokenizer_digest": manifest.tokenizer_digest,
    }
    path = os.path.join(output, "config.yaml")
    if tf.io.gfile.exists(path):
        with open_file(path, "r") as file:
            earlier = yaml.safe_load(file)
        for name in ("model", "train"):
            for key in sorted(set(now[name]) | set(earlier[name])):
                before, after = earlier[name].get(key), now[name].get(key)
                if before != after and key not in MAY_CHANGE:
                    raise ConfigError(
                        f"run {output} was begun with {name}.{key}={before!r}, now it is {after!r}; "
                        "give the same value to resume, or another --output"
                    )
        if earlier["data_digest"] != now["data_digest"]:
            raise DataError(f"run {output} was begun on other data than {data}; give that data, or another --output")
    tokenizer.save(os.path.join(output, "tokenizer"))
    with atomic_write(path, "w") as file:
        yaml.safe_dump(now, file, sort_keys=False, allow_unicode=True)


def save_network(network: keras.Model, path: str) -> None:
    """Writes a Keras file under a temporary name, then renames it."""
    if "://" in path:
        network.save(path)
        return
    temporary = f"{path}.tmp.keras"
    try:
        network.save(temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def _named(config: ModelConfig) -> dict[str, Any]:
    return {"family": config.family, **to_dict(config)}


def _data_digest(manifest: Manifest) -> str:
    """One digest over every shard of the data."""
    digests = [shard.sha256 for _, split in sorted(manifest.splits.items()) for shard in split.shards]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _read_summary(directory: str) -> dict[str, Any]:
    path = os.path.join(directory, "summary.json")
    return read_json(path, "the run's summary") if tf.io.gfile.exists(path) else {}


@contextlib.contextmanager
def _naming_checkpoint(checkpoints: Checkpoints):
    """Adds to an error of training which checkpoint is the last good one."""
    try:
        yield
    except TrainingError as error:
        steps = checkpoints.steps()
        good = checkpoints.path(steps[-1]) if steps else "none was written yet"
        raise TrainingError(f"{error}. Last good checkpoint: {good}") from error
