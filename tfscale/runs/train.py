"""A run: from a data folder and two configs to a trained model in RUN_DIR, on any number of
workers, and resumable."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

import tfscale
import tfscale.models as models
from tfscale.config import NetworkConfig, NGramConfig, TrainConfig
from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import data_errors
from tfscale.data.tokens import split_text
from tfscale.distribution.cluster import reports_progress
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.distribution.strategy import describe, has_servers, serves_only, strategy
from tfscale.errors import ConfigError
from tfscale.files.folders import claim_directory
from tfscale.files.json_text import JsonObject
from tfscale.files.run_lock import only_writer
from tfscale.launching.heartbeat import beat
from tfscale.runs.compiled import compiled_model, way_of_run
from tfscale.runs.divergence import naming_checkpoint, skipped_note
from tfscale.runs.finish import finish_run
from tfscale.runs.folder import describe_run, named, used_xla, write_run_files
from tfscale.runs.length import WITHOUT_END, run_length
from tfscale.runs.longer import check_start
from tfscale.runs.ngram import train_ngram
from tfscale.runs.provenance import USED_XLA, Provenance, alike
from tfscale.runs.reading import Reading
from tfscale.runs.recorder import RunRecorder
from tfscale.runs.same_run import check_checkpoint, check_not_lost, check_same_run
from tfscale.text.tokenizers import load_tokenizer
from tfscale.training.batches import check_divisible
from tfscale.training.checkpoint import Checkpoints
from tfscale.training.language_model import LanguageModel
from tfscale.training.optimizers import servers_note
from tfscale.training.schedule import length_notes
from tfscale.training.stateful import check_carries
from tfscale.ui.progress import ProgressLine


def _nothing(model: LanguageModel) -> JsonObject:
    return {}


@dataclass(frozen=True)
class Beginning:
    """The weights that a training begins with instead of random ones.

    Attributes:
        set_up: is called with the model before it is compiled, in the strategy's scope.
        summarize: is called with the trained model; its result is added to the summary.
        provenance: what `set_up` depends on; a resumed run must bring the same.
    """

    set_up: Callable[[LanguageModel], object] = _nothing
    summarize: Callable[[LanguageModel], JsonObject] = _nothing
    provenance: Provenance = Provenance()


FROM_SCRATCH = Beginning()


@checks_arguments
def train(
    model_config: NetworkConfig | NGramConfig,
    train_config: TrainConfig,
    *,
    data: str,
    output: str,
    progress: bool = True,
    beginning: Beginning = FROM_SCRATCH,
) -> JsonObject:
    """Trains a model on a data folder; goes on where it stopped if the run folder has a checkpoint.

    Args:
        model_config: the architecture; a vocabulary size of 0 takes the tokenizer's. N-grams are
            counted, and read nothing of `train_config`.
        train_config: batch, optimizer, schedule and so on.
        data: DATA_DIR of `tfscale prepare`.
        output: RUN_DIR to write; absent, empty, or an earlier state of the same run.
        progress: show progress on stderr.
        beginning: what it begins with instead of random weights.

    Returns:
        The summary that is also written to RUN_DIR/summary.json; see `tfscale.train`.

    Raises:
        ConfigError: configs that contradict the data, the devices, or the earlier state of the run;
            or another process that trains into the folder.
        DataError: the data folder is missing or damaged.
        CheckpointError: no checkpoint is whole, or they are of another model.
        TrainingError: the loss is no longer finite.
        WorkerLostError: another worker of the same training went away.

    Example:
        train(TransformerConfig(hidden_dim=128), TrainConfig(steps=500), data="data", output="run")
    """
    if model_config.counted:
        _check_counts(train_config)
        return train_ngram(model_config, data=data, output=output, progress=progress)
    if train_config.strategy in ("auto", "parameter_server") and serves_only():
        # This process has no part in what follows, and perhaps neither the data nor the run folder.
        strategy(train_config.strategy)
    shown = progress and reports_progress(train_config.strategy)
    line = ProgressLine("train", train_config.steps, enabled=shown)
    line.note(f"reading {data}")
    manifest = Manifest.load(data, verify="sha256")
    tokenizer = load_tokenizer(data)
    model_config = fit_to_data(model_config, manifest)
    servers = has_servers(train_config.strategy)
    if note := servers_note(train_config, model_config, servers):
        line.note(note)
    asked = train_config.for_model(model_config, by_entries=servers)
    reading = Reading(data, manifest, model_config, asked)
    described = describe_run(model_config, asked, data, manifest)
    described |= beginning.provenance.to_dict()
    train_config = reading.config
    claim_directory(output, "config.yaml", "a run folder", remote=True)
    checkpoints = Checkpoints(os.path.join(output, "checkpoints"))
    is_longer = check_same_run(output, described)
    check_not_lost(output, checkpoints)
    if is_longer:
        check_start(output, checkpoints, train_config)
    chosen = strategy(train_config.strategy)
    if train_config.minutes is not None and is_asynchronous(chosen):
        raise ConfigError(
            f"train.minutes={train_config.minutes:g} is not for parameter servers, where steps are"
            " handed out in advance; give train.steps or train.epochs"
        )
    if reading.streams:
        check_carries(chosen)
    if reading.packed and is_asynchronous(chosen):
        raise ConfigError(
            "train.packing=best_fit is not for parameter servers, whose workers read without this"
            " process; give train.packing=stream, or another strategy"
        )
    replicas = chosen.num_replicas_in_sync
    check_divisible(train_config.global_batch_size, replicas, train_config.micro_batches)
    line.note("building the model")
    way = way_of_run(reading, chosen, used_xla(output))
    model = compiled_model(reading, chosen, beginning.set_up, way)
    workers = model.workers
    workers.check_alike(_must_be_alike(described))
    if way.tried:
        described[USED_XLA] = way.xla
    with only_writer(output) if workers.is_chief else contextlib.nullcontext(), line:
        length = run_length(train_config, model.optimizer, workers)
        line.total = length.total
        if workers.is_chief:
            # Before the new length is written down, which says that this was done.
            if is_longer and (start := checkpoints.return_to_start()):
                line.note(f"back to step {start:,}, where the learning rate began to come down")
            write_run_files(output, described, tokenizer)
        # Without an order of steps over all workers, each takes whole batches: `readers` of them
        # are a round.
        batches = workers.readers if is_asynchronous(chosen) else 1
        _announce(line, reading, describe(chosen, train_config.strategy), workers.readers, batches)
        for text in way.notes:
            line.note(text)
        validation = reading.validation(replicas)
        partly = train_config.validation_batches or None
        recorder = RunRecorder(
            output,
            train_config,
            None if validation is None else lambda: model.summed_loss(validation, partly),
            checkpoints,
            {
                "model": named(model_config),
                "tokenizer_digest": manifest.tokenizer_digest,
                "run": described,
            },
            line,
            length,
        )
        recorder.set_model(model)
        done = _restore(recorder)
        seconds = 0.0 if length.is_over(done) else _fit(recorder, reading, done, batches)
        if seconds and train_config.minutes is not None:
            _say_steps(recorder)
        held_out = None
        if validation is not None:
            held_out = split_text(data, manifest, "validation", tokenizer)
        return finish_run(
            output,
            recorder,
            train_config,
            validation,
            held_out,
            seconds,
            reading.epoch_steps,
            lambda model: reading.packing_figures | beginning.summarize(model),
        )


def _say_steps(recorder: RunRecorder) -> None:
    """Says how many steps the minutes were, and where they were too few for the warm-up."""
    step = int(recorder.runner.step.numpy())
    if recorder.length.is_over(step):
        minutes = recorder.seconds / 60
        for text in (
            f"{step:,} steps in {minutes:.3g} minutes",
            *length_notes(recorder.config, step),
        ):
            recorder.progress.note(text)


def _announce(
    line: ProgressLine, reading: Reading, machines: str, readers: int, batches: int
) -> None:
    """Says what is trained, on which devices, by which optimizer, and how its data is read."""
    config = reading.config
    line.note(
        f"{reading.model_config.family} of {models.parameter_count(reading.model_config):,}"
        f" parameters on {machines}; {reading.rows * reading.length:,}"
        f" {'positions' if reading.packed else 'tokens'} a step,"
        f" {reading.epoch_steps:,} steps a pass over the data"
    )
    optimizer = f"optimizer {config.optimizer}, peak learning rate {config.learning_rate:g}"
    notes = [] if config.minutes is not None else length_notes(config, config.total_steps)
    read = (
        reading.mix_note,
        reading.documents_note,
        reading.packing_note,
        reading.describe(readers, batches),
    )
    for text in (optimizer, reading.length_note, *notes, *read):
        if text:
            line.note(text)


def _restore(recorder: RunRecorder) -> int:
    """Brings all workers to the last checkpoint; returns its step, 0 where there is none."""
    workers, state, line = recorder.model.workers, recorder.runner.state(), recorder.progress
    if workers.is_chief:
        step, damaged = recorder.checkpoints.restore_latest(state)
        for text in damaged:
            line.note(f"{text}; using the one before")
        kept = recorder.checkpoints.restored.get("run")
        check_checkpoint(recorder.checkpoints.path(step), kept, recorder.meta["run"])
    workers.from_chief(state)
    line.start = done = int(recorder.runner.step.numpy())
    recorder.length.resume(recorder.checkpoints.restored.get("length", {}), done)
    recorder.resume(done)
    if done:
        line.note(f"going on at step {done:,}")
    return done


def _fit(recorder: RunRecorder, reading: Reading, done: int, batches: int) -> float:
    """Takes the steps that are missing; returns the seconds that they took."""
    config = reading.config

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return reading.training(
            done, batches, context.num_input_pipelines, context.input_pipeline_id
        )

    total = recorder.length.total
    recorder.progress.stage("compiling the train step")
    began = time.perf_counter()
    beat(done)
    with data_errors(reading.data), naming_checkpoint(recorder.checkpoints, recorder.runner):
        try:
            recorder.model.fit(
                share,
                epochs=1,
                steps_per_epoch=(total or WITHOUT_END) - done,
                verbose=0,
                callbacks=[recorder],
                steps_per_call=config.log_every,
                stop_at_multiples_of=recorder.length.stops,
                checked=True,
            )
        finally:
            # Keras does not call it where an error ends the training, and Ctrl-C would stay noted
            # for a run that is over.
            recorder.on_train_end()
    if note := skipped_note(recorder.skipped, int(recorder.runner.step.numpy())):
        recorder.progress.note(note)
    return time.perf_counter() - began


def _check_counts(config: TrainConfig) -> None:
    """Refuses training options for n-grams."""
    default = dataclasses.asdict(TrainConfig())
    given = [name for name, value in dataclasses.asdict(config).items() if value != default[name]]
    if given:
        raise ConfigError(
            "n-grams are counted, not trained:"
            f" train.{given[0]}={getattr(config, given[0])!r} has no effect on them; leave it out"
        )


def _must_be_alike(described: JsonObject) -> JsonObject:
    """Returns what all workers must be started with: options, data, tokenizer and program."""
    return alike(described) | {
        "version of tfscale": tfscale.__version__,
        "version of TensorFlow": tf.__version__,
    }


def fit_to_data(config: NetworkConfig, manifest: Manifest) -> NetworkConfig:
    """Returns the config with the data's vocabulary size; refuses one with another."""
    if config.vocabulary_size not in (0, manifest.vocabulary_size):
        raise ConfigError(
            f"model.vocabulary_size={config.vocabulary_size}, but the data was tokenized with "
            f"{manifest.vocabulary_size} entries; leave the option out to take the data's"
        )
    return dataclasses.replace(config, vocabulary_size=manifest.vocabulary_size)
