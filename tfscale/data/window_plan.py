"""The plan of a training: which shards each group of rows reads, and how long an epoch is.

Text whose sources are not named is read as one corpus: each group of rows reads some of all shards.
Otherwise each group reads shards of every source, as `tfscale.data.mixing` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tfscale.data.manifest import Manifest, Split
from tfscale.data.mixing import Mixture
from tfscale.data.sharding import batches_per_epoch, num_groups, windows_per_shard
from tfscale.errors import ConfigError, DataError


@dataclass(frozen=True)
class WindowPlan:
    """The windows that each group of rows reads.

    Attributes:
        mixture: the sources and their shares; None where the sources are not named.
        streams: for each source, or for the whole split, the numbers of its shards.
        groups: P, groups of rows.
        rows: rows of a batch that a group gives.
        steps: batches of an epoch. With a mix an epoch has as many windows as there are of all
            sources together, however often each is read in it.
        per_epoch: for each stream and group, the windows after which it begins again.
    """

    mixture: Mixture | None
    streams: list[list[int]]
    groups: int
    rows: int
    steps: int
    per_epoch: list[list[int]]

    def describe_mix(self, steps: int | None) -> str:
        """Returns in one line how often each source is read; empty where they are not named.

        Args:
            steps: batches of the whole training; None where that is not known.

        Example:
            plan.describe_mix(1000)    # "mix: code 0.3 (3.2 passes), web 0.7 (0.4 passes)"
        """
        if self.mixture is None:
            return ""
        parts = []
        for name, share, counts in zip(
            self.mixture.names, self.mixture.shares, self.per_epoch, strict=True
        ):
            once = sum(counts) / (share * self.rows * self.groups)
            if steps is None:
                how = f"a pass is {float(once):,.0f} steps"
            else:
                passes = float(steps / once)
                how = f"{passes:.1f} passes" if passes >= 0.1 else f"{passes:.1g} passes"
            parts.append(f"{name} {float(share):.3g} ({how})")
        return f"mix: {', '.join(parts)}"


def window_plan(
    manifest: Manifest,
    sequence_length: int,
    global_batch_size: int,
    mix: Mapping[str, float] | None = None,
) -> WindowPlan:
    """Returns the plan of a training.

    Args:
        manifest: of the data folder.
        sequence_length: T, tokens of a window.
        global_batch_size: windows of a batch over all input pipelines.
        mix: name of each source -> its weight; None weighs them by their tokens.

    Raises:
        DataError: the data is too small for the window or the batch.
        ConfigError: the mix does not name the sources of the data.
    """
    split = manifest.split("train")
    mixture, streams = mixed_streams(split, mix)
    if mixture is None:
        steps = batches_per_epoch(split, sequence_length, global_batch_size)
        groups = num_groups(global_batch_size, len(split.shards))
        rows = global_batch_size // groups
        return WindowPlan(None, streams, groups, rows, steps, [[steps * rows] * groups])
    windows = [windows_per_shard(shard.tokens, sequence_length) for shard in split.shards]
    for name, numbers in zip(mixture.names, streams, strict=True):
        _check_size(split, name, numbers, windows, sequence_length)
    groups = num_groups(global_batch_size, min(map(len, streams)))
    per_epoch = [
        [sum(windows[number] for number in numbers[group::groups]) for group in range(groups)]
        for numbers in streams
    ]
    total = sum(map(sum, per_epoch))
    if total < global_batch_size:
        raise DataError(
            f"global_batch_size={global_batch_size} is larger than the data: with"
            f" sequence_length={sequence_length} the sources {', '.join(mixture.names)} have"
            f" {total} windows; prepare more text, or take a smaller batch"
        )
    rows = global_batch_size // groups
    return WindowPlan(mixture, streams, groups, rows, total // global_batch_size, per_epoch)


def mixed_streams(
    split: Split, mix: Mapping[str, float] | None
) -> tuple[Mixture | None, list[list[int]]]:
    """Returns the sources that are read with their shares, and the numbers of the shards of each.

    Args:
        split: the training split.
        mix: name of each source -> its weight; None weighs them by their tokens.

    Returns:
        None and the shards of the whole split, where the sources are not named.

    Raises:
        ConfigError: the mix does not name the sources of the data.
    """
    if mix is not None:
        _check_names(split, mix)
    elif not split.sources:
        return None, [list(range(len(split.shards)))]
    else:
        mix = {name: counts.tokens for name, counts in split.sources.items()}
    mixture = Mixture.of(mix)
    return mixture, [
        [number for number, shard in enumerate(split.shards) if shard.source == name]
        for name in mixture.names
    ]


def _check_names(split: Split, mix: Mapping[str, float]) -> None:
    """Refuses a mix of other names than those of the sources of the data."""
    sources = sorted(split.sources)
    if not sources:
        raise ConfigError(
            f"train.mix names {', '.join(mix)}, and the data folder was prepared without sources;"
            " prepare it by --source NAME=PATH"
        )
    if unknown := [name for name in mix if name not in sources]:
        raise ConfigError(
            f"train.mix names {unknown[0]}, and the sources of the data are {', '.join(sources)}"
        )
    if missing := [name for name in sources if name not in mix]:
        raise ConfigError(
            f"train.mix has no weight for {missing[0]}, a source of the data; {missing[0]}=0 leaves"
            " it out"
        )


def _check_size(
    split: Split, name: str, numbers: list[int], windows: list[int], sequence_length: int
) -> None:
    """Refuses a source with a shard that is too short for a window."""
    smallest = min(numbers, key=lambda number: split.shards[number].tokens)
    if not windows[smallest]:
        tokens = split.shards[smallest].tokens
        raise DataError(
            f"sequence_length={sequence_length} is too long for the source {name}: the smallest of"
            f" its training shards, {split.shards[smallest].file}, has {tokens} tokens, which allow"
            f" {tokens // 2} at most; prepare more text of it, or set its weight to 0"
        )
