import errno
import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfscale.errors import CheckpointError, TfscaleError
from tfscale.files import paths as files
from tfscale.training.checkpoint import Checkpoints, array_digest, read_arrays, write_arrays


def state(value=0.0, width=3):
    return {
        "network/0/kernel": tf.Variable(np.full((2, width), value, "float32")),
        "step": tf.Variable(7, dtype=tf.int64),
    }


def test_state_comes_back(tmp_path):
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save(7, state(1.5), {"model": {"family": "lstm"}})
    restored = state()
    assert checkpoints.restore_latest(restored) == (7, [])
    np.testing.assert_array_equal(restored["network/0/kernel"].numpy(), np.full((2, 3), 1.5))
    assert read_arrays(checkpoints.path(7))[1]["model"] == {"family": "lstm"}


def test_a_remote_file_system_keeps_checkpoints_too(tmp_path):
    folder = f"ram://{tmp_path.name}/checkpoints"
    checkpoints = Checkpoints(folder)
    for step in (5, 10, 15):
        checkpoints.save(step, state(step, width=30_000), {"model": {"family": "lstm"}})
    restored = state(width=30_000)
    assert Checkpoints(folder).restore_latest(restored) == (15, [])
    assert (restored["network/0/kernel"].numpy() == 15).all()
    assert sorted(tf.io.gfile.listdir(folder)) == ["step-00000010.npz", "step-00000015.npz"]


def test_the_newest_two_are_kept(tmp_path):
    checkpoints = Checkpoints(str(tmp_path))
    for name in ("step-00000003.npz.tmp-4711", "step-00000003.npz.tmp-4712"):
        (tmp_path / name).write_text(
            "of a process of an earlier version that was killed while it wrote"
        )
    two_days_ago = time.time() - 2 * 86_400
    os.utime(tmp_path / "step-00000003.npz.tmp-4711", (two_days_ago, two_days_ago))
    for step in (5, 10, 15):
        checkpoints.save(step, state(step), {})
    assert checkpoints.steps() == [10, 15]
    # What was written a moment ago may have a writer that lives.
    assert sorted(os.listdir(tmp_path)) == [
        "step-00000003.npz.tmp-4712",
        "step-00000010.npz",
        "step-00000015.npz",
    ]


def values(checkpoints):
    """The value that is in each file of a folder of checkpoints."""
    names = tf.io.gfile.listdir(checkpoints.directory)
    paths = {name: os.path.join(checkpoints.directory, name) for name in names}
    return {name: read_arrays(path)[0]["network/0/kernel"][0, 0] for name, path in paths.items()}


@pytest.mark.parametrize("remote", [False, True])
def test_a_longer_run_returns_to_the_checkpoint_that_was_kept(tmp_path, monkeypatch, remote):
    folder = f"ram://{tmp_path.name}/longer" if remote else str(tmp_path / "longer")
    checkpoints = Checkpoints(folder)
    assert checkpoints.start_of_longer() == checkpoints.return_to_start() == 0
    write_arrays(checkpoints.best_path, state(8), {})
    checkpoints.save(10, state(10), {})
    assert checkpoints.start_of_longer() == 10 and checkpoints.return_to_start() == 0
    checkpoints.keep_for_longer(10)
    for step in (15, 20, 25):
        checkpoints.save(step, state(step), {})
    write_arrays(checkpoints.best_path, state(25), {})
    kept = {"stable-00000010.npz": 10, "stable-best.npz": 8}
    assert values(checkpoints) == kept | {
        "best.npz": 25,
        "step-00000020.npz": 20,
        "step-00000025.npz": 25,
    }
    assert checkpoints.start_of_longer() == 10
    if not remote:
        with monkeypatch.context() as patch:  # A crash right before the end.
            patch.setattr(tf.io.gfile, "rename", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                checkpoints.return_to_start()
    assert checkpoints.start_of_longer() == 10
    assert checkpoints.return_to_start() == 10
    assert values(checkpoints) == {"best.npz": 8, "step-00000010.npz": 10}
    assert checkpoints.return_to_start() == 0
    # The next one takes the place of the one before, and of its best weights.
    tf.io.gfile.remove(checkpoints.best_path)
    for step in (30, 40):
        checkpoints.save(step, state(step), {})
        checkpoints.keep_for_longer(step)
    write_arrays(checkpoints.best_path, state(45), {})
    checkpoints.save(50, state(50), {})
    assert checkpoints.start_of_longer() == 40
    assert checkpoints.return_to_start() == 40
    assert values(checkpoints) == {"step-00000040.npz": 40}


def damage(path, how):
    data = bytearray(Path(path).read_bytes())
    if how == "flipped byte":
        place = data.index(np.full(3, 15, "float32").tobytes())
        data[place] ^= 0x10
    else:
        data = data[: {"cut": len(data) // 2, "empty": 0}[how]]
    Path(path).write_bytes(data)


@pytest.mark.parametrize("how", ["flipped byte", "cut", "empty"])
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_is_used(tmp_path, how):
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save(10, state(10), {})
    checkpoints.save(15, state(15), {})
    damage(checkpoints.path(15), how)
    restored = state()
    step, damaged = checkpoints.restore_latest(restored)
    assert step == 10
    assert len(damaged) == 1 and "step-00000015.npz is damaged" in damaged[0]
    assert restored["network/0/kernel"].numpy()[0, 0] == 10
    damage(checkpoints.path(10), "cut")
    with pytest.raises(CheckpointError, match="no checkpoint in .* is whole"):
        checkpoints.restore_latest(restored)


def test_arrays_that_were_exchanged_are_noticed(tmp_path):
    """Each array is sound by the zip file's own checksum, but they are not those that were written together."""
    checkpoints = Checkpoints(str(tmp_path))
    path = checkpoints.save(10, state(10), {})
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["network/0/kernel"] = arrays["network/0/kernel"] + 1
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(
        CheckpointError,
        match="step-00000010.npz is damaged .its arrays do not have the digest written",
    ):
        read_arrays(path)


@pytest.mark.parametrize("remote", [False, True])
def test_each_variable_is_fetched_once(tmp_path, remote):
    fetched = []

    class Variable:
        def __init__(self, value):
            self.value = value

        def numpy(self):
            fetched.append(self.value)
            return np.full(3, self.value)

    path = f"ram://{tmp_path.name}/once.npz" if remote else str(tmp_path / "once.npz")
    write_arrays(path, {"b": Variable(2), "a": Variable(1)}, {"of": "it"})
    assert sorted(fetched) == [1, 2]
    arrays, meta = read_arrays(path)
    assert {name: array[0] for name, array in arrays.items()} == {"a": 1, "b": 2}
    assert meta["of"] == "it"


def test_the_digest_is_of_names_types_shapes_and_bytes():
    one = {"a": np.arange(6, dtype="int64").reshape(2, 3)}
    assert (
        array_digest(one)
        == hashlib.blake2b(
            b"a <i8 (2, 3)" + np.arange(6, dtype="<i8").tobytes(), digest_size=32
        ).hexdigest()
    )
    for other in (
        {"b": one["a"]},
        {"a": one["a"].astype("uint64")},
        {"a": one["a"].reshape(3, 2)},
        {"a": one["a"] + 1},
    ):
        assert array_digest(other) != array_digest(one)


@pytest.mark.parametrize(
    "other,message",
    [
        (state(width=4), r"network/0/kernel has shape \(2, 3\), this model's is \(2, 4\)"),
        (state() | {"network/1/bias": tf.Variable(0.0)}, "it has no network/1/bias"),
        (
            {"step": tf.Variable(7, dtype=tf.int64)},
            "it has network/0/kernel, which this model lacks",
        ),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_before_anything_is_assigned(
    tmp_path, other, message
):
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save(7, state(9.0), {})
    before = {name: variable.numpy() for name, variable in other.items()}
    with pytest.raises(CheckpointError, match=f"belongs to another model: {message}"):
        checkpoints.restore_latest(other)
    for name, variable in other.items():
        np.testing.assert_array_equal(variable.numpy(), before[name])


def test_a_full_disk_leaves_the_earlier_checkpoint_whole(tmp_path, monkeypatch):
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save(7, state(1.0), {})
    whole = Path(checkpoints.path(7)).read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    for step in (7, 8):
        with pytest.raises(TfscaleError, match="no space left while writing .*step-0000000"):
            checkpoints.save(step, state(2.0), {})
    assert os.listdir(tmp_path) == ["step-00000007.npz"]
    assert Path(checkpoints.path(7)).read_bytes() == whole
