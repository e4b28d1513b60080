import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.data.numbered import numbered_data
from tests.slow import slow_but
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import (
    data_errors,
    evaluation_dataset,
    steps_per_epoch,
    text_windows,
    training_dataset,
)
from tfscale.errors import ConfigError, DataError

LENGTH, BATCH, END = 16, 12, 256


@pytest.fixture(scope="module")
def steps(tiny_data_dir):
    return steps_per_epoch(Manifest.load(tiny_data_dir), LENGTH, BATCH)


def batches(data_dir, count, **options):
    options = {"sequence_length": LENGTH, "global_batch_size": BATCH, "seed": 7} | options
    dataset = training_dataset(data_dir, **options)
    return [(inputs.numpy(), targets.numpy()) for inputs, targets in dataset.take(count)]


def equal(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b)
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def shard_tokens(data_dir, split):
    manifest = Manifest.load(data_dir)
    return [
        np.concatenate(
            [
                np.frombuffer(record.numpy(), "<u2")
                for record in tf.data.TFRecordDataset(
                    os.path.join(data_dir, shard.file), compression_type="GZIP"
                )
            ]
        )
        for shard in manifest.splits[split].shards
    ]


def test_shapes_types_and_the_shift_by_one(tiny_data_dir):
    dataset = training_dataset(
        tiny_data_dir, sequence_length=LENGTH, global_batch_size=BATCH, seed=0
    )
    spec = tf.TensorSpec((BATCH, LENGTH), tf.int32)
    assert dataset.element_spec == (spec, spec)
    assert (
        dataset.options().experimental_distribute.auto_shard_policy
        == tf.data.experimental.AutoShardPolicy.OFF
    )
    for inputs, targets in batches(tiny_data_dir, 3):
        assert np.array_equal(inputs[:, 1:], targets[:, :-1])


def test_the_steps_of_an_epoch_are_those_of_the_manifest(tiny_data_dir, steps):
    train = Manifest.load(tiny_data_dir).splits["train"]
    # Five shards and a batch of 12: four groups, of which the first has two shards.
    windows = [(shard.tokens - LENGTH) // LENGTH for shard in train.shards]
    assert steps == min(windows[0] + windows[4], *windows[1:4]) // 3
    assert steps > 20


@pytest.mark.parametrize("shuffle_windows", [1, 40, 65_536])
@pytest.mark.parametrize("phase_seed", [0, 1])
def test_an_epoch_has_every_window_once(tiny_data_dir, tmp_path, shuffle_windows, phase_seed):
    lengths = [1000, 1200, 1100, 900]
    data = numbered_data(tiny_data_dir, tmp_path / "data", lengths)
    steps = steps_per_epoch(Manifest.load(data), LENGTH, 4)
    assert steps == (900 - 16) // 16
    starts = np.cumsum([0, *lengths])
    for epoch in range(2):
        rows = batches(
            data,
            steps,
            global_batch_size=4,
            start_step=epoch * steps,
            seed=phase_seed,
            shuffle_windows=shuffle_windows,
        )
        for group in range(4):
            inputs = np.stack([x[group] for x, _ in rows])
            targets = np.stack([y[group] for _, y in rows])
            assert np.array_equal(targets - targets[:, :1], np.tile(np.arange(LENGTH), (steps, 1)))
            first = np.sort(targets[:, 0])
            assert first.min() >= starts[group]
            assert first.max() + LENGTH <= starts[group + 1]
            assert len(set(first)) == steps
            # All windows of a shard begin at one phase.
            assert len({int(start - starts[group]) % LENGTH for start in first}) == 1
            expected = np.where(targets[:, 0] == starts[group], END, targets[:, 0] - 1)
            assert np.array_equal(inputs[:, 0], expected)


def test_phases_and_orders_differ_between_epochs_shards_and_seeds(tiny_data_dir, tmp_path):
    data = numbered_data(tiny_data_dir, tmp_path / "data", [1000] * 4)
    steps = steps_per_epoch(Manifest.load(data), LENGTH, 4)
    runs = {}
    for seed in range(3):
        firsts = np.stack(
            [y[:, 0] for _, y in batches(data, 3 * steps, global_batch_size=4, seed=seed)]
        )
        runs.update(
            {(epoch, seed): firsts[epoch * steps : (epoch + 1) * steps] for epoch in range(3)}
        )
    phases = {key: tuple((run[0] - 1000 * np.arange(4)) % LENGTH) for key, run in runs.items()}
    assert len(set(phases.values())) == 9
    assert len({phase for row in phases.values() for phase in row}) > 8
    order = {key: tuple(np.argsort(run[:, 0])) for key, run in runs.items()}
    assert len(set(order.values())) == 9


def test_windows_run_across_the_blocks_of_a_shard(tiny_data_dir, tmp_path):
    data = numbered_data(tiny_data_dir, tmp_path / "data", [40_000])
    for length in (1000, 17_000):
        (inputs, targets), *_ = batches(
            data, 1, global_batch_size=1, sequence_length=length, shuffle_windows=1
        )
        start = targets[0, 0]
        assert np.array_equal(targets[0], start + np.arange(length))
        assert np.array_equal(inputs[0, 1:], targets[0, :-1])
        assert inputs[0, 0] == (start - 1 if start else END)


def test_a_group_of_more_shards_than_are_read_at_once(tiny_data_dir, tmp_path):
    data = numbered_data(tiny_data_dir, tmp_path / "data", [100] * 11)
    steps = steps_per_epoch(Manifest.load(data), LENGTH, 1)
    assert steps == 11 * 5
    targets = np.stack(
        [y[0] for _, y in batches(data, steps, global_batch_size=1, shuffle_windows=1)]
    )
    shards = targets[:, 0] // 100
    assert np.bincount(shards).tolist() == [5] * 11
    # In turn: the first eight windows are of eight shards, in an order that is not that of the files.
    assert len(set(shards[:8])) == 8
    assert list(shards[:8]) != sorted(shards[:8])


def test_four_byte_tokens(tiny_data_dir, tmp_path):
    data = numbered_data(tiny_data_dir, tmp_path / "data", [70_000], dtype="uint32")
    steps = steps_per_epoch(Manifest.load(data), 1000, 1)
    largest = max(
        y.max() for _, y in batches(data, steps, global_batch_size=1, sequence_length=1000)
    )
    assert largest > 68_000


def test_a_batch_does_not_depend_on_where_reading_began(tiny_data_dir, steps):
    whole = batches(tiny_data_dir, 2 * steps + 3)
    for start in (0, 1, steps - 2, steps, 2 * steps - 1):
        assert equal(batches(tiny_data_dir, 3, start_step=start), whole[start : start + 3]), start
    assert not equal(whole[:3], whole[steps : steps + 3])


def test_a_batch_does_not_depend_on_the_users_seed(tiny_data_dir):
    reference = batches(tiny_data_dir, 3)
    tf.random.set_seed(1234)
    drawn = tf.random.uniform(())
    tf.random.set_seed(1234)
    assert equal(batches(tiny_data_dir, 3), reference)
    assert tf.random.uniform(()) == drawn
    assert not equal(batches(tiny_data_dir, 3, seed=8), reference)


@pytest.mark.parametrize(
    "pipelines, batch_size",
    slow_but(
        [(pipelines, batch_size) for pipelines in (1, 2, 3, 4) for batch_size in (12, 10, 7)],
        *((1, 12), (2, 7), (3, 10), (4, 7)),
    ),
)
def test_a_batch_does_not_depend_on_the_number_of_pipelines(tiny_data_dir, batch_size, pipelines):
    """12 rows are four groups of 3, 10 are five groups of 2, 7 are one group of 7."""
    steps = steps_per_epoch(Manifest.load(tiny_data_dir), LENGTH, batch_size)
    options = {"global_batch_size": batch_size, "start_step": steps - 2}
    if batch_size % pipelines:
        with pytest.raises(ConfigError, match=f"not divisible by the {pipelines} input pipelines"):
            batches(tiny_data_dir, 1, num_input_pipelines=pipelines, **options)
        return
    whole = batches(tiny_data_dir, 5, **options)
    parts = [
        batches(
            tiny_data_dir, 5, num_input_pipelines=pipelines, input_pipeline_id=number, **options
        )
        for number in range(pipelines)
    ]
    joined = [
        tuple(np.concatenate(rows) for rows in zip(*step, strict=True))
        for step in zip(*parts, strict=True)
    ]
    assert equal(joined, whole)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("sequence_length", 0, "1 or more"),
        ("global_batch_size", 0, "1 or more"),
        ("num_input_pipelines", 0, "1 or more"),
        ("shuffle_windows", -3, "1 or more"),
        ("start_step", -1, "0 or more"),
        ("seed", -1, "0 or more"),
    ],
)
def test_numbers_that_give_no_batches_are_refused(tiny_data_dir, name, value, expected):
    options = {"sequence_length": 8, "global_batch_size": 2, "seed": 0}
    message = f"{name}={value} is out of range; expected {expected}"
    with pytest.raises(ConfigError, match=message):
        training_dataset(tiny_data_dir, **options | {name: value})
    if name == "sequence_length":
        with pytest.raises(ConfigError, match=message):
            evaluation_dataset(tiny_data_dir, "train", sequence_length=0, batch_size=1)


def test_a_pipeline_that_is_not_there(tiny_data_dir):
    with pytest.raises(ConfigError, match="input_pipeline_id=2 is out of range; expected 0 to 1"):
        batches(tiny_data_dir, 1, num_input_pipelines=2, input_pipeline_id=2)


def test_a_context_longer_than_the_data(tiny_data_dir):
    smallest = min(shard.tokens for shard in Manifest.load(tiny_data_dir).splits["train"].shards)
    with pytest.raises(
        DataError, match=f"has {smallest} tokens, which allow {smallest // 2} at most"
    ):
        batches(tiny_data_dir, 1, sequence_length=5000)
    assert batches(tiny_data_dir, 1, sequence_length=smallest // 2, global_batch_size=1)[0][
        0
    ].shape == (
        1,
        smallest // 2,
    )


@pytest.mark.parametrize(("length", "batch_size"), [(16, 4), (7, 3), (100, 2), (5000, 2)])
@pytest.mark.parametrize("split", ["validation", "test", "train"])
def test_evaluation_has_every_token_once_as_a_target(tiny_data_dir, split, length, batch_size):
    dataset = evaluation_dataset(
        tiny_data_dir, split, sequence_length=length, batch_size=batch_size
    )
    shape = (batch_size, length)
    assert [spec.shape.as_list() for spec in dataset.element_spec] == [list(shape)] * 3
    found = [
        np.concatenate([part.numpy().ravel() for part in parts])
        for parts in zip(*dataset, strict=True)
    ]
    inputs, targets, weights = found
    stream = np.concatenate(shard_tokens(tiny_data_dir, split))
    assert weights.sum() == len(stream) == Manifest.load(tiny_data_dir).splits[split].tokens
    assert np.array_equal(targets[weights == 1], stream)
    assert np.array_equal(inputs[weights == 1], np.concatenate([[END], stream[:-1]]))
    assert (inputs[weights == 0] == END).all() and (targets[weights == 0] == END).all()
    assert len(dataset) == -(-len(stream) // (batch_size * length))
    expected = text_windows(stream, length, END)
    rows = len(expected[0])
    for part, reference in zip(found, expected, strict=True):
        assert np.array_equal(part.reshape(-1, length)[:rows], reference)


def test_windows_of_any_stream():
    inputs, targets, weights = text_windows(np.array([5, 6, 7, 1, 8]), 2, end_id=1)
    assert inputs.tolist() == [[1, 5], [6, 7], [1, 1]]
    assert targets.tolist() == [[5, 6], [7, 1], [8, 1]]
    assert weights.tolist() == [[1, 1], [1, 1], [1, 0]]
    assert (inputs.dtype, targets.dtype, weights.dtype) == (np.int32, np.int32, np.float32)
    assert [part.shape for part in text_windows(np.array([5, 6]), 2, end_id=1)] == [(1, 2)] * 3
    assert [part.shape for part in text_windows(np.array([]), 2, end_id=1)] == [(0, 2)] * 3


@pytest.fixture
def damaged(tiny_data_dir, tmp_path):
    path = tmp_path / "data"
    shutil.copytree(tiny_data_dir, path)
    for split in ("train", "validation"):
        shard = next(name for name in sorted(os.listdir(path)) if name.startswith(split))
        content = bytearray((path / shard).read_bytes())
        content[len(content) // 2] ^= 0x55
        (path / shard).write_bytes(bytes(content))
    return str(path)


def test_a_damaged_shard_is_found_before_the_first_batch(damaged):
    with pytest.raises(DataError, match="train-00000-of-00005.tfrecord.gz is damaged"):
        batches(damaged, 1)
    with pytest.raises(DataError, match="train-00000-of-00005.tfrecord.gz is damaged"):
        evaluation_dataset(damaged, "validation", sequence_length=LENGTH, batch_size=2)


def test_a_shard_that_is_damaged_while_it_is_read(damaged):
    dataset = evaluation_dataset(
        damaged, "validation", sequence_length=LENGTH, batch_size=2, verify="size"
    )
    with (
        pytest.raises(DataError, match=r"train-00000-of-00005\.tfrecord\.gz is damaged"),
        data_errors(damaged),
    ):
        list(dataset)
    with pytest.raises(DataError, match="a shard could not be read: "), data_errors():
        list(dataset)


def test_a_shard_that_vanishes(tiny_data_dir, tmp_path):
    shutil.copytree(tiny_data_dir, tmp_path / "data")
    dataset = evaluation_dataset(
        str(tmp_path / "data"), "test", sequence_length=LENGTH, batch_size=2
    )
    os.remove(tmp_path / "data" / "test-00000-of-00001.tfrecord.gz")
    with (
        pytest.raises(DataError, match="shard is missing: .*test-00000"),
        data_errors(str(tmp_path / "data")),
    ):
        list(dataset)
