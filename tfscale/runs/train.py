"""A run: from a data folder and two configs to a trained model in RUN_DIR, on any number of
workers, and resumable."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tensorflow as tf

import tfscale
import tfscale.models as models
from tfscale.config import NetworkConfig, NGramConfig, TrainConfig
from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import data_errors
from tfscale.data.tokens import split_text
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.distribution.strategy import describe, serves_only, strategy
from tfscale.errors import CheckpointError, ConfigError, DataError, TrainingError
from tfscale.files.folders import claim_directory
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import write_json
from tfscale.files.run_lock import only_writer
from tfscale.launching.heartbeat import beat
from tfscale.models.network import capabilities
from tfscale.runs.folder import (
    check_same_run,
    describe_run,
    named,
    read_summary,
    save_network,
    write_run_files,
)
from tfscale.runs.ngram import train_ngram
from tfscale.runs.provenance import Provenance, alike
from tfscale.runs.reading import Reading
from tfscale.runs.recorder import RunRecorder, figures_of
from tfscale.text.score import Score, ScoredText
from tfscale.text.tokenizers import load_tokenizer
from tfscale.training.batches import check_divisible
from tfscale.training.checkpoint import Checkpoints, assign_arrays, network_state, read_arrays
from tfscale.training.language_model import LanguageModel
from tfscale.training.schedule import build_optimizer, warmup_note
from tfscale.training.stateful import check_carries
from tfscale.training.xla import use_xla
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
    if isinstance(model_config, NGramConfig):
        _check_counts(train_config)
        return train_ngram(model_config, data=data, output=output, progress=progress)
    if train_config.strategy in ("auto", "parameter_server") and serves_only():
        # This process has no part in what follows, and perhaps neither the data nor the run folder.
        strategy(train_config.strategy)
    manifest = Manifest.load(data, verify="sha256")
    tokenizer = load_tokenizer(data)
    model_config = fit_to_data(model_config, manifest)
    train_config = train_config.for_model(model_config)
    reading = Reading(data, manifest, model_config, train_config)
    described = describe_run(model_config, train_config, data, manifest)
    described |= beginning.provenance.to_dict()
    claim_directory(output, "config.yaml", "a run folder", remote=True)
    check_same_run(output, described)
    chosen = strategy(train_config.strategy)
    if reading.streams:
        check_carries(chosen)
    check_divisible(
        train_config.global_batch_size, chosen.num_replicas_in_sync, train_config.micro_batches
    )

    with chosen.scope():
        network = models.build_network(model_config, train_config.precision, train_config.seed)
        model = LanguageModel(network)
        beginning.set_up(model)
        xla = use_xla(train_config, model_config)
        options = train_config.compile_options(
            xla=xla, streams=reading.streams, pass_steps=reading.pass_steps
        )
        model.compile(build_optimizer(train_config, network), **dataclasses.asdict(options))
    step, workers = model.train_step_runner, model.workers
    assert step is not None
    workers.check_alike(_must_be_alike(described))
    with (
        only_writer(output) if workers.is_chief else contextlib.nullcontext(),
        ProgressLine("train", train_config.steps, enabled=progress and workers.is_chief) as line,
    ):
        if workers.is_chief:
            write_run_files(output, described, tokenizer)
        line.note(
            f"{model_config.family} of {models.parameter_count(model_config):,} parameters on "
            f"{describe(chosen, train_config.strategy)}; "
            f"{train_config.global_batch_size * model_config.sequence_length:,} tokens a step, "
            f"{reading.epoch_steps:,} steps a pass over the data"
        )
        if note := warmup_note(train_config):
            line.note(note)
        # Without an order of steps over all workers, each takes whole batches: `readers` of them
        # are a round.
        batches = workers.readers if is_asynchronous(chosen) else 1
        if how := reading.describe(workers.readers, batches):
            line.note(how)
        checkpoints = Checkpoints(os.path.join(output, "checkpoints"))
        if workers.is_chief:
            for text in checkpoints.restore_latest(step.state())[1]:
                line.note(f"{text}; using the one before")
        workers.from_chief(step.state())
        done = int(step.step.numpy())
        line.start = done
        validation = reading.validation(chosen.num_replicas_in_sync)
        partly = train_config.validation_batches or None
        recorder = RunRecorder(
            output,
            train_config,
            None if validation is None else lambda: model.summed_loss(validation, partly),
            checkpoints,
            {"model": named(model_config), "tokenizer_digest": manifest.tokenizer_digest},
            line,
        )
        recorder.set_model(model)
        recorder.resume(done)
        if done:
            line.note(f"going on at step {done:,}")
        seconds = 0.0
        if done < train_config.steps:

            def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
                return reading.training(
                    done, batches, context.num_input_pipelines, context.input_pipeline_id
                )

            line.note(
                "compiling the train step, which takes seconds to a minute; then the steps begin"
            )
            began = time.perf_counter()
            beat(done)
            with data_errors(data), _naming_checkpoint(checkpoints):
                model.fit(
                    share,
                    epochs=1,
                    steps_per_epoch=train_config.steps - done,
                    verbose=0,
                    callbacks=[recorder],
                    steps_per_call=train_config.log_every,
                    stop_at_multiples_of=(
                        train_config.validate_every,
                        train_config.checkpoint_every,
                    ),
                    checked=True,
                )
            seconds = time.perf_counter() - began
        held_out = (
            None if validation is None else split_text(data, manifest, "validation", tokenizer)
        )
        return _finish(output, recorder, train_config, validation, held_out, seconds, beginning)


def _finish(
    output: str,
    recorder: RunRecorder,
    config: TrainConfig,
    validation: tf.data.Dataset | None,
    text: ScoredText | None,
    seconds: float,
    beginning: Beginning,
) -> JsonObject:
    """Chooses the run's weights, writes model.keras and summary.json, and validates on the whole
    split."""
    model = recorder.model
    step = int(recorder.runner.step.numpy())
    earlier = _figures_before(output, recorder, step if not seconds else -1)
    rate, waited = recorder.rates() if seconds else (None, None)
    if earlier.get("tokens_per_second") and (rate is None or recorder.compiled_only):
        rate, waited = earlier["tokens_per_second"], earlier.get("input_wait_fraction")
    summary: JsonObject = {
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
    with model.averaged_weights():
        best = _best_weights(recorder) if config.result == "best" and summary["completed"] else None
        if best is not None:
            assign_arrays(recorder.checkpoints.best_path, best[0], network_state(model.network))
            summary |= {"result": "best", "result_step": best[1]["step"]}
        model.workers.from_chief(network_state(model.network))
        if model.workers.is_chief:
            save_network(model.plain_network(), os.path.join(output, "model.keras"))
        if validation is not None and text is not None and summary["completed"]:
            nll, tokens = model.summed_loss(validation, averaged=False)
            score = Score(nll, round(tokens), cloze=capabilities(model.network).is_cloze)
            summary["validation"] = score.of(text).to_dict()
        summary |= beginning.summarize(model)
    if model.workers.is_chief:
        write_json(os.path.join(output, "summary.json"), summary)
    return summary


def _figures_before(output: str, recorder: RunRecorder, step: int) -> dict[str, float]:
    """The figures of the run before it went on: of the summary where nothing was left to do, or of
    the checkpoint.

    Args:
        output: the run folder.
        recorder: of the run, after `resume`.
        step: where the run stands if it took no step now.
    """
    try:
        summary = figures_of(read_summary(output))
    except DataError:  # It is written anew, and must not stop a run that has come to its end.
        summary = {}
    return recorder.earlier if recorder.earlier and summary.get("steps") != step else summary


def _check_counts(config: TrainConfig) -> None:
    """Refuses training options for n-grams."""
    default = dataclasses.asdict(TrainConfig())
    given = [name for name, value in dataclasses.asdict(config).items() if value != default[name]]
    if given:
        raise ConfigError(
            "n-grams are counted, not trained:"
            f" train.{given[0]}={getattr(config, given[0])!r} has no effect on them; leave it out"
        )


def _best_weights(recorder: RunRecorder) -> tuple[JsonObject, JsonObject] | None:
    """Arrays and description of the weights with the lowest validation loss; on the chief, where
    there are any."""
    path = recorder.checkpoints.best_path
    if not recorder.writes or not tf.io.gfile.exists(path):
        return None
    try:
        return read_arrays(path)
    except CheckpointError as error:
        recorder.progress.note(f"{error}; the result is the last weights")
        return None


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


@contextlib.contextmanager
def _naming_checkpoint(checkpoints: Checkpoints) -> Iterator[None]:
    """Adds to an error of training which checkpoint is the last good one."""
    try:
        yield
    except TrainingError as error:
        steps = checkpoints.steps()
        good = checkpoints.path(steps[-1]) if steps else "none was written yet"
        raise type(error)(f"{error}. Last good checkpoint: {good}") from error
