"""The text by which the weights of a run are rounded, and what came of it.

Text that a file is compared or scored on must not decide how it is rounded, so that it is of the
training split; validation and test text stay unseen.

Shapes: B windows of T tokens.
"""

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfscale.config import ExportConfig
from tfscale.config.export import WINDOWS_OF_UPDATE
from tfscale.errors import ConfigError, DataError
from tfscale.evaluation.evaluate import manifest_of_model
from tfscale.exporting.learned_rounding import LearnedRounding
from tfscale.exporting.report import Checks, ReportedRounding
from tfscale.files.paths import exists
from tfscale.models.documents import apart, documents_of
from tfscale.models.network import LanguageNetwork
from tfscale.models.recipe import recipe
from tfscale.models.weight_formats import weight_formats
from tfscale.runs.folder import read_config
from tfscale.runs.reading import Reading
from tfscale.training.batches import as_batches
from tfscale.training.loss import token_losses

if TYPE_CHECKING:
    from tfscale.runs.folder import Run

UNSEEN_WINDOWS = 64
"""Windows after those that are learned from, on which the result is measured."""


@dataclass(frozen=True)
class Rounded:
    """Weights in blocks of int4 whose rounding was learned.

    Attributes:
        numbers: as they are stored, by the path of the weight.
        nearest: loss of each unseen window with the nearest numbers, nats per token.
        learned: the same with these.
    """

    numbers: dict[str, np.ndarray]
    nearest: np.ndarray
    learned: np.ndarray

    def check(self, checks: Checks) -> None:
        """Adds a check that the text became no less likely, but for chance (2 standard errors)."""
        change = self.learned - self.nearest
        chance = 2 * float(np.std(change, ddof=1)) / np.sqrt(len(change))
        checks.add("loss_change_by_learned_rounding", float(np.mean(change)), "<=", chance)

    def reported(self, config: ExportConfig) -> ReportedRounding:
        """Returns what the report says of it."""
        return {
            "method": config.rounding,
            "calibration_windows": config.calibration_windows,
            "calibration_seed": config.calibration_seed,
            "unseen_windows": UNSEEN_WINDOWS,
            "loss": {
                "nearest": float(np.mean(self.nearest)),
                "learned": float(np.mean(self.learned)),
            },
        }


def calibration_text(run: "Run", config: ExportConfig) -> Reading:
    """Returns the batches that a run was trained on, shuffled anew, from which rounding is learned.

    Args:
        run: a trained run.
        config: number of windows, and seed of the shuffling.

    Raises:
        ConfigError: the run was trained for a recipe, or has too few windows.
        DataError: its training text is not there, or damaged.
        TokenizerError: the text was tokenized by another tokenizer.
    """
    path = os.path.join(run.directory, "config.yaml")
    section = read_config(path).get("quantize") if exists(path) else None
    trained_for = str(section["recipe"]) if isinstance(section, dict) else "none"
    if recipe(trained_for).rounds:
        raise ConfigError(
            f"rounding: expected nearest for {run.directory}, whose weights learned to be rounded"
            f" so (tfscale compress --quantize {trained_for}); received {config.rounding!r}"
        )
    missing = f"rounding={config.rounding} needs the training text of the run"
    if run.data_dir is None:
        raise DataError(f"{missing}, and {run.directory} names no data folder")
    try:
        manifest = manifest_of_model(run.data_dir, "train", run.tokenizer)
    except DataError as error:
        raise DataError(f"{missing}: {error}") from error
    options = dataclasses.replace(
        run.train_config,
        global_batch_size=WINDOWS_OF_UPDATE,
        micro_batches=1,
        seed=config.calibration_seed,
    )
    reading = Reading(run.data_dir, manifest, run.model_config, options)
    most = max(reading.epoch_steps * WINDOWS_OF_UPDATE - UNSEEN_WINDOWS, 0)
    if config.calibration_windows > most:
        raise ConfigError(
            f"calibration_windows: expected at most {most}, as a pass over the training split of"
            f" {run.data_dir} has {most + UNSEEN_WINDOWS} windows of"
            f" {run.model_config.sequence_length} tokens, of which {UNSEEN_WINDOWS} are for"
            f" measuring; received {config.calibration_windows}"
        )
    return reading


def learned_for(reading: Reading, network: LanguageNetwork, config: ExportConfig) -> Rounded:
    """Learns how the weights of a run are rounded, from windows of its training text.

    Args:
        reading: that of `calibration_text`.
        network: the run's, computing in float32.
        config: recipe and number of windows.

    Raises:
        ExportError: no weight is in blocks of int4.
    """
    options = reading.config.compile_options(
        xla=False, document_start=reading.document_start, document_end=reading.document_end
    )
    documents = documents_of(options, options.document_start, options.document_end)

    def losses(ids: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        options: dict[str, Any] = dict(apart(documents, targets))
        hidden = network.hidden_states(ids, **options)
        _, nll = token_losses(network.project(hidden), targets)
        return tf.math.divide_no_nan(
            tf.reduce_sum(nll * weights, axis=1), tf.reduce_sum(weights, axis=1)
        )

    steps = config.calibration_windows // WINDOWS_OF_UPDATE
    count = steps + UNSEEN_WINDOWS // WINDOWS_OF_UPDATE
    batches = []
    for ids, targets, *weights in as_batches(reading.training()).take(count):
        batches.append((ids, targets, *(weights or [tf.ones(tf.shape(ids))])))
    rounding = LearnedRounding(network, losses, weight_formats(network, config.quantize))
    unseen = batches[steps:]
    nearest = rounding.losses(unseen)
    rounding.learn(batches[:steps])
    return Rounded(rounding.numbers(), nearest, rounding.losses(unseen))
