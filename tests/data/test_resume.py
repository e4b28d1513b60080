"""Batches from the middle of an epoch: read through the index, and read and dropped."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.data.numbered import numbered_data
from tests.slow import slow_but
from tfscale.data import epochs
from tfscale.data.index import INDEX_FILE, read_index
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import data_errors, steps_per_epoch, training_dataset
from tfscale.errors import DataError

# Shards of several members of 64 tokens, and a window of 50 that lies in one or two.
LENGTHS = [1500, 1400, 1700, 1600, 900, 1000, 1100, 300, 1200, 1300, 1000, 1000]
END = 256


@pytest.fixture(autouse=True)
def through_the_index(monkeypatch):
    monkeypatch.setattr(epochs, "READ_AND_DROPPED", 0)


@pytest.fixture(scope="module")
def folders(tiny_data_dir, tmp_path_factory):
    """Number of shards -> a folder with an index."""
    folder = tmp_path_factory.mktemp("resume")
    return {
        count: numbered_data(
            tiny_data_dir, folder / str(count), LENGTHS[:count], record_tokens=32, member_records=2
        )
        for count in (1, 3, 12)
    }


def without_index(data, path):
    shutil.copytree(data, path)
    os.remove(path / INDEX_FILE)
    return str(path)


def batches(data, count, **options):
    options = {"sequence_length": 50, "global_batch_size": 4, "seed": 3} | options
    return np.array([batch for batch in training_dataset(data, **options).take(count)])


@pytest.mark.parametrize(
    ("shards", "shuffle_windows"), slow_but([(1, 65_536), (3, 1), (12, 30)], (12, 30))
)
def test_the_index_gives_the_batches_of_reading_and_dropping(
    folders, tmp_path, shards, shuffle_windows
):
    data = folders[shards]
    slow = without_index(data, tmp_path / "slow")
    steps = steps_per_epoch(Manifest.load(data), 50, 4)
    options = {"shuffle_windows": shuffle_windows}
    whole = batches(slow, 2 * steps + 4, **options)
    # In the first epoch, over its end, and in the next one.
    for start in (1, steps - 1, steps + 2):
        through = batches(data, 4, start_step=start, **options)
        assert np.array_equal(through, whole[start : start + 4]), start


@pytest.mark.parametrize(
    ("shards", "options", "expected"),
    [
        (1, {}, [[999, 1049, 249, 49], [149, 849, 399, 1099]]),
        (3, {"shuffle_windows": 30}, [[399, 199, 1932, 2282], [3079, 349, 2332, 2382]]),
        (1, {"start_step": 40}, [[783, 1333, 433, 533], [233, 733, 33, 383]]),
        (
            12,
            {"start_step": 40, "global_batch_size": 6, "sequence_length": 20},
            [[129, 2182, 4360, 11194, 12674, 13294], [8764, 1982, 10324, 5524, 12394, 7143]],
        ),
    ],
)
def test_the_order_is_that_of_earlier_versions(folders, shards, options, expected):
    """First targets as read before there was an index; a run that was begun then goes on in it."""
    found = batches(folders[shards], 2, **options)
    assert found[:, 1, :, 0].tolist() == expected


@pytest.mark.parametrize(("shards", "pipelines"), slow_but([(1, 2), (12, 4)], (12, 4)))
def test_pipelines_share_the_batches_of_a_resume(folders, shards, pipelines):
    data = folders[shards]
    whole = batches(data, 3, start_step=5)
    parts = [
        batches(data, 3, start_step=5, num_input_pipelines=pipelines, input_pipeline_id=number)
        for number in range(pipelines)
    ]
    # (steps, inputs and targets, rows, T)
    assert np.array_equal(np.concatenate(parts, axis=2), whole)


def test_every_window_is_at_its_place(folders):
    """Tokens name their places: a window at the beginning of a shard has the end token before."""
    data = folders[3]
    steps = steps_per_epoch(Manifest.load(data), 50, 1)
    seen = set()
    for start in range(1, 3):
        for inputs, targets in batches(
            data, steps, start_step=start * steps + 1, global_batch_size=1
        ):
            assert np.array_equal(targets[0], targets[0, 0] + np.arange(50))
            assert np.array_equal(inputs[0, 1:], targets[0, :-1])
            begins = targets[0, 0] in (0, 1500, 2900)
            assert inputs[0, 0] == (END if begins else targets[0, 0] - 1)
            seen.add(begins)
    assert False in seen


def test_a_window_at_the_beginning_of_a_shard(tiny_data_dir, tmp_path):
    """Of windows of a token each shard begins with one, at the only phase that there is."""
    data = numbered_data(tiny_data_dir, tmp_path / "data", [40, 30], record_tokens=8)
    rows = batches(
        data, 60, sequence_length=1, global_batch_size=1, start_step=1, shuffle_windows=1
    )
    before = {int(targets[0, 0]): int(inputs[0, 0]) for inputs, targets in rows}
    assert before == {place: END if place in (0, 40) else place - 1 for place in before}
    assert {0, 40} & set(before)


def test_four_byte_tokens(tiny_data_dir, tmp_path):
    data = numbered_data(
        tiny_data_dir, tmp_path / "data", [70_000], dtype="uint32", record_tokens=4096
    )
    slow = without_index(data, tmp_path / "slow")
    # A window that lies in two or three members of four records.
    options = {"sequence_length": 20_000, "global_batch_size": 1, "start_step": 1}
    through = batches(data, 3, **options)
    assert through.max() > 1 << 15
    assert np.array_equal(through, batches(slow, 3, **options))


def test_what_comes_before_is_not_read(folders, tmp_path):
    """The first members are overwritten, which only a reading from the beginning finds."""
    shutil.copytree(folders[1], tmp_path / "data")
    data = str(tmp_path / "data")
    manifest = Manifest.load(data)
    [shard] = manifest.splits["train"].shards
    index = read_index(data, manifest)
    path = tmp_path / "data" / shard.file
    path.write_bytes(bytes(index.offsets[4]) + path.read_bytes()[index.offsets[4] :])
    options = {"start_step": 3, "shuffle_windows": 1}
    # 12 windows of 50 tokens come before, and the members that are gone hold 256 tokens.
    found = batches(data, 3, verify="size", **options)
    assert np.array_equal(found, batches(folders[1], 3, **options))
    os.remove(tmp_path / "data" / INDEX_FILE)
    with pytest.raises(DataError), data_errors(data):
        batches(data, 3, verify="size", **options)


def test_the_windows_of_shards_that_are_read_in_turn():
    windows = tf.constant([10, 10, 4, 10, 7], tf.int64)
    for before, expected in (
        (0, [0, 0, 0, 0, 0]),
        (13, [7, 7, 0, 0, 0]),  # 6.5 each
        (26, [10, 10, 3, 3, 0]),
        (33, [10, 10, 4, 7, 0]),
        (37, [10, 10, 4, 9, 3]),  # One fewer than 37: the shard of 4 ended, and no other began.
        (99, [10, 10, 4, 10, 7]),
    ):
        assert epochs._passed(windows, 2, before).numpy().tolist() == expected, before


def test_a_record_that_is_damaged(folders, tmp_path):
    shutil.copytree(folders[1], tmp_path / "data")
    data = str(tmp_path / "data")
    [shard] = Manifest.load(data).splits["train"].shards
    path = tmp_path / "data" / shard.file
    content = bytearray(path.read_bytes())
    for place in range(20, len(content), 97):
        content[place] ^= 0x55
    path.write_bytes(bytes(content))
    dataset = training_dataset(
        data, sequence_length=50, global_batch_size=4, seed=3, start_step=2, verify="size"
    )
    with pytest.raises(DataError, match=f"{shard.file} is damaged"), data_errors(data):
        list(dataset.take(3))
    path.unlink()
    with pytest.raises(DataError, match="shard is missing"), data_errors(data):
        list(dataset.take(3))
