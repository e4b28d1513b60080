import pytest

from tfscale.data.manifest import Shard, Split
from tfscale.data.sharding import (
    RowRange,
    batches_per_epoch,
    describe_plan,
    input_plan,
    num_groups,
    shards_read,
    windows_per_shard,
)
from tfscale.errors import ConfigError, DataError


def plan(*args):
    return [[(rows.group, rows.first, rows.end) for rows in ranges] for ranges in input_plan(*args)]


def split_of(*tokens):
    return Split(
        1, sum(tokens), 0, [Shard(f"train-{n}", count, "", 0) for n, count in enumerate(tokens)]
    )


def test_groups_divide_the_batch():
    assert [num_groups(12, shards) for shards in range(1, 14)] == [
        1,
        2,
        3,
        4,
        4,
        6,
        6,
        6,
        6,
        6,
        6,
        12,
        12,
    ]
    assert num_groups(7, 5) == 1
    assert num_groups(1, 5) == 1


def test_one_pipeline_reads_all_groups():
    assert plan(8, 5, 1) == [[(0, 0, 2), (1, 0, 2), (2, 0, 2), (3, 0, 2)]]


def test_more_groups_than_pipelines():
    assert plan(12, 6, 2) == [[(0, 0, 2), (1, 0, 2), (2, 0, 2)], [(3, 0, 2), (4, 0, 2), (5, 0, 2)]]


def test_more_pipelines_than_groups():
    assert plan(8, 2, 4) == [[(0, 0, 2)], [(0, 2, 4)], [(1, 0, 2)], [(1, 2, 4)]]


def test_groups_that_lie_across_two_pipelines():
    assert plan(12, 3, 4) == [
        [(0, 0, 3)],
        [(0, 3, 4), (1, 0, 2)],
        [(1, 2, 4), (2, 0, 1)],
        [(2, 1, 4)],
    ]
    assert input_plan(12, 3, 4)[1] == [RowRange(0, 3, 4), RowRange(1, 0, 2)]


def test_no_worker_reads_all_shards_when_there_are_enough():
    assert shards_read(8, [4], 2) == [2, 2]
    assert shards_read(12, [5], 3) == [
        3,
        2,
        2,
    ]  # groups of 2, 1, 1 and 1 shards; each worker has rows of two
    assert shards_read(8, [9], 4) == [3, 2, 2, 2]
    assert shards_read(8, [2], 4) == [1, 1, 1, 1]
    assert describe_plan(8, [9], 2) == (
        "input: 9 shards in 8 groups, each of which fills 1 of the 8 rows of every batch; "
        "worker 0 reads 5; worker 1 reads 4"
    )


@pytest.mark.parametrize("pipelines", [0, 3, 5, 16])
def test_an_uneven_batch_is_refused(pipelines):
    with pytest.raises(
        ConfigError,
        match=f"global_batch_size=8 is not divisible by the {pipelines} input pipelines",
    ):
        input_plan(8, 4, pipelines)


def test_windows_of_a_shard_fit_at_every_phase():
    assert [windows_per_shard(tokens, 4) for tokens in (0, 3, 4, 7, 8, 11, 12)] == [
        0,
        0,
        0,
        0,
        1,
        1,
        2,
    ]
    for tokens in range(60):
        for phase in range(4):
            assert phase + 4 * windows_per_shard(tokens, 4) <= max(tokens, phase)


def test_batches_of_an_epoch():
    # Windows of 4: 24, 24 and 9. Two groups: the shards 0 and 2 have 33 windows, shard 1 has 24, for 2 rows each.
    assert batches_per_epoch(split_of(100, 100, 40), 4, 4) == 12
    # One group: 57 windows for 5 rows.
    assert batches_per_epoch(split_of(100, 100, 40), 4, 5) == 11
    # Three groups, one row each.
    assert batches_per_epoch(split_of(100, 100, 40), 4, 3) == 9


def test_a_context_longer_than_the_data_says_what_would_fit():
    split = split_of(100, 41)
    message = "sequence_length=21 is too long .* train-1, has 41 tokens, which allow 20 at most"
    with pytest.raises(DataError, match=message):
        batches_per_epoch(split, 21, 2)
    assert batches_per_epoch(split, 20, 2) == 1


def test_a_batch_larger_than_the_data_says_what_there_is():
    with pytest.raises(DataError, match="global_batch_size=50 is larger .* has 24 windows"):
        batches_per_epoch(split_of(100), 4, 50)
