"""Windows of a run's training split, by which weights are rounded.

Text that a file is compared or scored on must not decide how it is rounded, so that validation and
test text stay unseen.

Shapes: W windows of T tokens.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfscale.config import ExportConfig
from tfscale.data.manifest import Manifest
from tfscale.data.tokens import token_blocks
from tfscale.errors import ConfigError, DataError
from tfscale.exporting.learned_rounding import LearnedRounding, Windows
from tfscale.exporting.report import Checks, ReportedRounding
from tfscale.files.paths import exists
from tfscale.models.documents import documents_of
from tfscale.models.network import LanguageNetwork
from tfscale.models.recipe import recipe
from tfscale.models.weight_formats import weight_formats
from tfscale.runs.folder import read_config

if TYPE_CHECKING:
    from tfscale.runs.folder import Run


UNSEEN_WINDOWS = 64
"""Windows beside those that are learned from, on which the result is measured."""


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


def check_rounding(run: "Run", config: ExportConfig) -> None:
    """Checks that the weights of a run can be rounded by its training text.

    Raises:
        ConfigError: it was trained for a recipe, or it has too few windows.
        DataError: its training text is not there.
    """
    path = os.path.join(run.directory, "config.yaml")
    section = read_config(path).get("quantize") if exists(path) else None
    trained_for = str(section["recipe"]) if isinstance(section, dict) else "none"
    if recipe(trained_for).rounds:
        raise ConfigError(
            f"rounding: expected nearest for {run.directory}, whose weights learned to be rounded"
            f" so (tfscale compress --quantize {trained_for}); received {config.rounding!r}"
        )
    _data_of(run, config)


def learned_for(run: "Run", network: LanguageNetwork, config: ExportConfig) -> Rounded:
    """Learns how the weights of a run are rounded, from windows of its training text.

    Args:
        run: a trained run.
        network: its network, computing in float32.
        config: recipe, windows and seed.

    Raises:
        DataError: the run's training text is not there.
        ExportError: no weight is in blocks of int4.
    """
    windows, unseen = calibration_windows(run, config)
    documents = documents_of(run.train_config, run.tokenizer.start_id)
    apart: dict[str, Any] = {} if documents is None else {"documents": documents}
    rounding = LearnedRounding(
        network,
        lambda ids: network.project(network.hidden_states(ids, **apart)),
        weight_formats(network, config.quantize),
    )
    nearest = rounding.losses(unseen)
    rounding.learn(windows)
    return Rounded(rounding.numbers(), nearest, rounding.losses(unseen))


def calibration_windows(run: "Run", config: ExportConfig) -> tuple[Windows, Windows]:
    """Returns windows of the run's training split, drawn without replacement.

    Args:
        run: a trained run.
        config: number of windows and seed of the draw.

    Returns:
        Those to learn from, in the order in which they were drawn, and `UNSEEN_WINDOWS` others to
        measure on.

    Raises:
        ConfigError: the split has fewer windows.
        DataError: the run's training text is not there.
    """
    data, manifest = _data_of(run, config)
    length = run.model_config.sequence_length
    count = config.calibration_windows + UNSEEN_WINDOWS
    generator = np.random.default_rng(config.calibration_seed)
    drawn = generator.choice(_windows_in(manifest, length), count, replace=False)
    # The split is read once, in order, and never held as a whole. A window has a token more than
    # the network reads: the last one's target.
    order = np.argsort(drawn)
    starts = drawn[order] * length
    ids = np.empty((count, length + 1), np.int32)
    end = 0
    for block in token_blocks(data, manifest, "train"):
        begin, end = end, end + len(block)
        # A window may lie in two blocks or more.
        touched = range(
            np.searchsorted(starts, begin - length - 1, "right"), np.searchsorted(starts, end)
        )
        for index in touched:
            first, last = max(starts[index], begin), min(starts[index] + length + 1, end)
            row = ids[order[index]]
            row[first - starts[index] : last - starts[index]] = block[first - begin : last - begin]
    windows = Windows(run.tokenizer.as_inputs(ids[:, :-1]), ids[:, 1:])
    learned, unseen = slice(config.calibration_windows), slice(config.calibration_windows, None)
    return (
        Windows(windows.inputs[learned], windows.targets[learned]),
        Windows(windows.inputs[unseen], windows.targets[unseen]),
    )


def _windows_in(manifest: Manifest, length: int) -> int:
    """Returns the number of windows of the training split, each with a target after its end."""
    return max(manifest.split("train").tokens - 1, 0) // length


def _data_of(run: "Run", config: ExportConfig) -> tuple[str, Manifest]:
    """Returns the run's data folder and its manifest."""
    missing = f"rounding={config.rounding} needs the training text of the run"
    if run.data_dir is None:
        raise DataError(f"{missing}, and {run.directory} names no data folder")
    try:
        manifest = Manifest.load(run.data_dir, verify="size")
    except DataError as error:
        raise DataError(f"{missing}: {error}") from error
    if manifest.tokenizer_digest != run.tokenizer.digest:
        raise DataError(f"{missing}, and {run.data_dir} now has another tokenizer")
    length = run.model_config.sequence_length
    available = max(_windows_in(manifest, length) - UNSEEN_WINDOWS, 0)
    if available < config.calibration_windows:
        raise ConfigError(
            f"calibration_windows: expected at most {available}, as the training split of"
            f" {run.data_dir} has {available + UNSEEN_WINDOWS} windows of {length} tokens, of which"
            f" {UNSEEN_WINDOWS} are for measuring; received {config.calibration_windows}"
        )
    return run.data_dir, manifest
