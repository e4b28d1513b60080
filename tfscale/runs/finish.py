"""The end of a training: the choice of the weights, model.keras, the validation, summary.json."""

import os
from collections.abc import Callable

import tensorflow as tf

from tfscale.config import TrainConfig
from tfscale.errors import CheckpointError, DataError
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import write_json
from tfscale.models.capability import capabilities
from tfscale.runs.divergence import check_validation
from tfscale.runs.folder import read_summary, save_network
from tfscale.runs.recorder import RunRecorder, figures_of
from tfscale.runs.same_run import check_checkpoint
from tfscale.text.score import Score, ScoredText
from tfscale.training.checkpoint import assign_arrays, network_state, read_arrays
from tfscale.training.language_model import LanguageModel


def finish_run(
    output: str,
    recorder: RunRecorder,
    config: TrainConfig,
    validation: tf.data.Dataset | None,
    text: ScoredText | None,
    seconds: float,
    epoch_steps: int,
    summarize: Callable[[LanguageModel], JsonObject],
) -> JsonObject:
    """Chooses the run's weights, writes model.keras and summary.json, and validates.

    Args:
        output: the run folder.
        recorder: of the run, after its last step.
        config: the options of the training.
        validation: the batches of the validation split; None where there is none.
        text: the text of that split.
        seconds: time of the steps that were taken now; 0 if there were none.
        epoch_steps: steps of a pass over the training windows.
        summarize: returns what a beginning adds to the summary.

    Returns:
        The summary.

    Raises:
        TrainingError: the loss of these weights is not finite; nothing is written.
    """
    model = recorder.model
    step = int(recorder.runner.step.numpy())
    earlier = _figures_before(output, recorder, step if not seconds else -1)
    rate, waited = recorder.rates() if seconds else (None, None)
    if earlier.get("tokens_per_second") and (rate is None or recorder.compiled_only):
        rate, waited = earlier["tokens_per_second"], earlier.get("input_wait_fraction")
    summary: JsonObject = {
        "steps": step,
        "epochs": step / epoch_steps,
        "tokens": recorder.tokens,
        "loss": recorder.last_logs.get("loss", earlier.get("loss")),
        "tokens_per_second": rate,
        "input_wait_fraction": waited,
        "seconds": seconds + earlier.get("seconds", 0.0),
        "parameters": model.network.count_params(),
        "completed": recorder.length.is_over(step),
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
        if validation is not None and text is not None and summary["completed"]:
            nll, tokens = model.summed_loss(validation, averaged=False)
            check_validation(nll / tokens, summary["result_step"])
            score = Score(nll, round(tokens), cloze=capabilities(model.network).is_cloze)
            summary["validation"] = score.of(text).to_dict()
        if model.workers.is_chief:
            save_network(model.plain_network(), os.path.join(output, "model.keras"))
        summary |= summarize(model)
    if model.workers.is_chief:
        write_json(os.path.join(output, "summary.json"), summary)
    return summary


def _figures_before(output: str, recorder: RunRecorder, step: int) -> dict[str, float]:
    """Returns the figures of the run before it went on, of the summary or of the checkpoint.

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


def _best_weights(recorder: RunRecorder) -> tuple[JsonObject, JsonObject] | None:
    """Returns arrays and description of the weights with the lowest validation loss."""
    path = recorder.checkpoints.best_path
    if not recorder.writes or not tf.io.gfile.exists(path):
        return None
    try:
        arrays, described = read_arrays(path)
        check_checkpoint(path, described.get("run"), recorder.meta.get("run", {}))
        return arrays, described
    except CheckpointError as error:
        recorder.progress.note(f"{error}; the result is the last weights")
        return None
