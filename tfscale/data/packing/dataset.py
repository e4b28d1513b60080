"""Training batches of packed rows.

Shapes: B batch (rows of this input pipeline), T places of a row.
"""

from dataclasses import dataclass

import tensorflow as tf

from tfscale.data.index import read_index
from tfscale.data.manifest import Manifest
from tfscale.data.packing.plan import PackedPlan
from tfscale.data.packing.ranges import TokenRanges
from tfscale.data.packing.rows import PackedRows
from tfscale.data.sharding import input_plan
from tfscale.data.training_windows import TrainingWindows
from tfscale.data.windows import in_order, model_inputs, without_autograph


@dataclass(frozen=True)
class PackedWindows(TrainingWindows):
    """The packed rows that the batches from a step on are made of; see `TrainingWindows`.

    Attributes:
        packed: the plan of which the attribute `plan` is a part.
    """

    packed: PackedPlan

    @classmethod
    def of(
        cls,
        data_dir: str,
        manifest: Manifest,
        packed: PackedPlan,
        seed: int,
        start_step: int,
        shuffle_windows: int,
    ) -> "PackedWindows":
        """Returns the rows of a plan; see the attributes."""
        return cls(
            data_dir,
            manifest,
            read_index(data_dir, manifest),
            packed.windows,
            packed.sequence_length,
            seed,
            start_step,
            shuffle_windows,
            packed,
        )

    def _stream(self, number: int, shuffled: int) -> PackedRows:
        ranges = TokenRanges(
            self.data_dir, self.manifest, self.index, self.packed.streams[number].shards
        )
        held = max(1, shuffled // self.plan.groups)
        return PackedRows(ranges, self.packed, number, self.seed, held)


@without_autograph
def packed_batches(
    windows: PackedWindows, num_input_pipelines: int, input_pipeline_id: int
) -> tf.data.Dataset:
    """Returns the batches of one input pipeline, without end.

    Args:
        windows: the rows of all pipelines.
        num_input_pipelines: readers that share each batch.
        input_pipeline_id: which of them this is.

    Returns:
        A dataset of (inputs (B, T) int32, targets (B, T) int32, weights (B, T) float32). Weights
        are 1 at tokens of documents, and 0 at the places that are left at the end of a row, where
        targets are the end token and inputs the start token.
    """
    size = windows.plan.rows * windows.plan.groups
    ranges = input_plan(size, windows.plan.groups, num_input_pipelines)[input_pipeline_id]
    rows = windows.interleaved(ranges)
    batches = rows.batch(size // num_input_pipelines, drop_remainder=True)
    places = tf.range(windows.sequence_length)

    def finish(rows: tf.Tensor, filled: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        rows = tf.cast(rows, tf.int32)
        weights = tf.cast(places < filled[:, None], tf.float32)
        return model_inputs(rows[:, 0], windows.manifest), rows[:, 1], weights

    return in_order(batches.map(finish))
