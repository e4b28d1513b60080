"""The plan of which reader reads which rows.

The order of training windows belongs to the step, not to the reader.

The rows of every global batch are dealt out to P groups of shards, P being the largest divisor of
the global batch size that is at most the number of shards. Group g owns the shards s with s % P ==
g and fills the rows g * G / P up to (g + 1) * G / P of every batch with its own shuffled stream. An
input pipeline reads the groups that overlap its rows. So one reader, two or four see the same
batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tfscale.data.manifest import Split
from tfscale.errors import ConfigError, DataError


@dataclass(frozen=True)
class RowRange:
    """Rows `first` up to `end` (exclusive) of those that `group` fills in every global batch."""

    group: int
    first: int
    end: int


def num_groups(global_batch_size: int, num_shards: int) -> int:
    """Returns P, the largest divisor of the batch size that is at most the number of shards.

    Example:
        num_groups(12, 5)    # 4
    """
    return next(
        count
        for count in range(min(global_batch_size, num_shards), 0, -1)
        if global_batch_size % count == 0
    )


def input_plan(
    global_batch_size: int, num_shards: int, num_input_pipelines: int
) -> list[list[RowRange]]:
    """Returns the rows that each input pipeline reads.

    Args:
        global_batch_size: G, rows of a batch over all pipelines.
        num_shards: shards of the training split.
        num_input_pipelines: N; pipeline i gives the rows i * G / N up to (i + 1) * G / N.

    Returns:
        For each pipeline the row ranges of its batch, in order.

    Raises:
        ConfigError: the batch cannot be dealt out evenly.

    Example:
        input_plan(8, 2, 4)    # pipeline 1: [RowRange(group=0, first=2, end=4)]
    """
    if num_input_pipelines < 1 or global_batch_size < 1 or global_batch_size % num_input_pipelines:
        raise ConfigError(
            f"global_batch_size={global_batch_size} is not divisible by the {num_input_pipelines}"
            " input pipelines"
        )
    rows_per_group = global_batch_size // num_groups(global_batch_size, num_shards)
    rows_per_pipeline = global_batch_size // num_input_pipelines
    plan = []
    for pipeline in range(num_input_pipelines):
        first, end = pipeline * rows_per_pipeline, (pipeline + 1) * rows_per_pipeline
        ranges = []
        for group in range(first // rows_per_group, -(-end // rows_per_group)):
            start = group * rows_per_group
            ranges.append(RowRange(group, max(first - start, 0), min(end - start, rows_per_group)))
        plan.append(ranges)
    return plan


def shards_read(
    global_batch_size: int, num_shards: Sequence[int], num_input_pipelines: int
) -> list[int]:
    """Returns how many shards each input pipeline reads, in whole or in part.

    Args:
        global_batch_size: rows of a batch over all pipelines.
        num_shards: shards of each source that is mixed; one number where none is.
        num_input_pipelines: how many share the batch.

    Example:
        shards_read(8, [4], 2)    # [2, 2]
    """
    groups = num_groups(global_batch_size, min(num_shards))
    return [
        sum(len(range(rows.group, count, groups)) for rows in ranges for count in num_shards)
        for ranges in input_plan(global_batch_size, groups, num_input_pipelines)
    ]


def describe_plan(
    global_batch_size: int, num_shards: Sequence[int], num_input_pipelines: int
) -> str:
    """Returns the plan in one line, for the log; the arguments are those of `shards_read`."""
    groups = num_groups(global_batch_size, min(num_shards))
    read = shards_read(global_batch_size, num_shards, num_input_pipelines)
    return (
        f"input: {sum(num_shards)} shards in {groups} groups, each of which fills"
        f" {global_batch_size // groups} of the {global_batch_size} rows of every batch; "
        + "; ".join(f"worker {worker} reads {count}" for worker, count in enumerate(read))
    )


def windows_per_shard(tokens: int, sequence_length: int) -> int:
    """Returns the training windows of a shard, wherever in its first T tokens they begin."""
    return max(0, (tokens - sequence_length) // sequence_length)


def batches_per_epoch(split: Split, sequence_length: int, global_batch_size: int) -> int:
    """Returns the full global batches that every group can give in an epoch.

    Raises:
        DataError: the shards are too short for the context, or too few for a batch; the message
            says what would fit.
    """
    smallest = min(split.shards, key=lambda shard: shard.tokens)
    if not windows_per_shard(smallest.tokens, sequence_length):
        raise DataError(
            f"sequence_length={sequence_length} is too long for the data: the smallest training"
            f" shard, {smallest.file}, has {smallest.tokens} tokens, which allow"
            f" {smallest.tokens // 2} at most; prepare more text, or with fewer --shards"
        )
    groups = num_groups(global_batch_size, len(split.shards))
    windows = [
        sum(
            windows_per_shard(shard.tokens, sequence_length)
            for shard in split.shards[group::groups]
        )
        for group in range(groups)
    ]
    batches = min(windows) // (global_batch_size // groups)
    if not batches:
        raise DataError(
            f"global_batch_size={global_batch_size} is larger than the data: with"
            f" sequence_length={sequence_length} the training split has {sum(windows)} windows;"
            " prepare more text, or take a smaller batch"
        )
    return batches
