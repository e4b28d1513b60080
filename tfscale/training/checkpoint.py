"""Checkpoints: every array of the training state in one .npz file, written whole or not at all.

A file is written under a temporary name and renamed. It carries a digest of its arrays that reading
verifies, so a damaged file is noticed; the one before it is kept and used then. `best.npz` holds
the weights with the lowest validation loss.
"""

import hashlib
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import CheckpointError, reason
from tfscale.files.json_text import JsonObject, parse_json, to_json
from tfscale.files.npz import read_npz, write_npz
from tfscale.files.paths import atomic_write, is_remote, open_file
from tfscale.files.temporary import remove_leftovers
from tfscale.training.variables import Stored

FORMAT_VERSION = 2
_NAME = re.compile(r"step-(\d{8})\.npz$")
_STABLE = re.compile(r"stable-(\d{8})\.npz$")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: folder of the files, local or gs://.
        keep: newest checkpoints that stay.

    Example:
        checkpoints = Checkpoints("run/checkpoints")
        checkpoints.save(500, train_step.state(), {"model": {...}})
        checkpoints.restore_latest(train_step.state())  # 500
    """

    def __init__(self, directory: str, keep: int = 2):
        self.directory, self.keep = directory, keep
        self.restored: JsonObject = {}
        """The description in the checkpoint that `restore_latest` took; empty before, and where
        there was none."""

    def path(self, step: int) -> str:
        """Returns the file of the checkpoint at a step."""
        return os.path.join(self.directory, f"step-{step:08d}.npz")

    @property
    def best_path(self) -> str:
        """File of the weights with the lowest validation loss."""
        return os.path.join(self.directory, "best.npz")

    def steps(self) -> list[int]:
        """Returns the steps of the checkpoints there are, oldest first."""
        return self._steps_of(_NAME)

    def _steps_of(self, pattern: re.Pattern[str]) -> list[int]:
        if not tf.io.gfile.isdir(self.directory):
            return []
        matches = (pattern.match(name) for name in tf.io.gfile.listdir(self.directory))
        return sorted(int(match[1]) for match in matches if match)

    def stable_path(self, step: int) -> str:
        """Returns the file of the checkpoint that is kept for a longer run."""
        return os.path.join(self.directory, f"stable-{step:08d}.npz")

    def keep_for_longer(self, step: int) -> None:
        """Keeps the checkpoint at a step, and the best weights by then, for a longer run.

        They stay until the next call, whatever is saved after them.
        """
        earlier = self._steps_of(_STABLE)
        if tf.io.gfile.exists(self.best_path):
            _copy(self.best_path, self._stable_best)
        elif tf.io.gfile.exists(self._stable_best):
            tf.io.gfile.remove(self._stable_best)
        _copy(self.path(step), self.stable_path(step))
        for old in earlier:
            if old != step:
                tf.io.gfile.remove(self.stable_path(old))

    def start_of_longer(self) -> int:
        """Returns the step from which a longer run goes on: that of the kept checkpoint, or else of
        the newest one; 0 if there is none."""
        return max(self._steps_of(_STABLE) or self.steps(), default=0)

    def return_to_start(self) -> int:
        """Makes the kept checkpoint the newest one, and the best weights by then the best.

        Returns:
            Its step; 0 if there was none.

        Raises:
            CheckpointError: it is damaged; all is left as it was.
        """
        kept = self._steps_of(_STABLE)
        if not kept:
            return 0
        read_arrays(self.stable_path(kept[-1]))
        # Until the last line but one the kept checkpoint is known as such, so that all of this is
        # done again after a crash in between.
        for later in self.steps():
            if later > kept[-1]:
                tf.io.gfile.remove(self.path(later))
        had_best = tf.io.gfile.exists(self._stable_best)
        if had_best:
            _copy(self._stable_best, self.best_path)
        elif tf.io.gfile.exists(self.best_path):
            tf.io.gfile.remove(self.best_path)
        tf.io.gfile.rename(self.stable_path(kept[-1]), self.path(kept[-1]), overwrite=True)
        if had_best:
            tf.io.gfile.remove(self._stable_best)
        return kept[-1]

    @property
    def _stable_best(self) -> str:
        return os.path.join(self.directory, "stable-best.npz")

    def save(self, step: int, state: Mapping[str, Stored], meta: JsonObject) -> str:
        """Writes the state at a step, removes all but the newest `keep`, and returns the path."""
        write_arrays(self.path(step), state, {**meta, "step": step})
        for old in self.steps()[: -self.keep]:
            tf.io.gfile.remove(self.path(old))
        if not is_remote(self.directory):
            remove_leftovers(self.directory)
        return self.path(step)

    def restore_latest(self, state: Mapping[str, Stored]) -> tuple[int, list[str]]:
        """Restores the newest checkpoint that is whole.

        Returns:
            Its step, 0 if there is none; and a line for each newer one that was damaged and passed
            over.

        Raises:
            CheckpointError: there are checkpoints and all are damaged, or one belongs to another
                model.
        """
        damaged = []
        steps = self.steps()
        for step in reversed(steps):
            try:
                arrays, meta = read_arrays(self.path(step))
            except CheckpointError as error:
                damaged.append(str(error))
                continue
            assign_arrays(self.path(step), arrays, state)
            self.restored = meta
            return int(meta["step"]), damaged
        if steps:
            raise CheckpointError(
                f"no checkpoint in {self.directory} is whole: {'; '.join(damaged)}; train into"
                " another folder"
            )
        return 0, []


def _copy(source: str, target: str) -> None:
    """Copies a file, under another name until it is whole."""
    with open_file(source, "rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file, 1 << 24)


def network_state(network: keras.Model) -> dict[str, tf.Variable]:
    """Returns the weights of a network under the names that checkpoints give them.

    The states of Keras's seed generators are left out: the train step draws by (seed, step) and
    never uses them.
    """
    return {f"network/{i}/{v.path}": v.value for i, v in enumerate(network.weights)}


def write_arrays(path: str, state: Mapping[str, Stored], meta: JsonObject) -> None:
    """Writes named variables and a JSON description to one .npz file.

    The values of one variable are in memory at a time, beside the variables themselves. Each is
    fetched once, from a device or another machine; so the description, which has the digest of all,
    comes last.
    """
    arrays = ArraysOf(state)

    def content() -> Iterator[tuple[str, np.ndarray]]:
        digest = _new_digest()
        for name in sorted(arrays):
            array = arrays[name]
            _add(digest, name, array)
            yield name, array
        text = to_json({**meta, "format_version": FORMAT_VERSION, "digest": digest.hexdigest()})
        yield "meta", np.frombuffer(text.encode(), np.uint8)

    if not is_remote(path):
        with atomic_write(path) as file:
            write_npz(file, content())
        return
    # An archive is written by going back in it, which a remote file system does not do.
    with tempfile.TemporaryFile() as local:
        write_npz(local, content())
        local.seek(0)
        with atomic_write(path) as file:
            shutil.copyfileobj(local, file, 1 << 24)


class ArraysOf(Mapping[str, np.ndarray]):
    """The values of named variables, each copied when it is asked for."""

    def __init__(self, state: Mapping[str, Stored]):
        self._state = state

    def __getitem__(self, name: str) -> np.ndarray:
        return np.asarray(self._state[name].numpy())

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


def array_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the BLAKE2b of names, types, shapes and bytes of all arrays, in hexadecimal."""
    digest = _new_digest()
    for name in sorted(arrays):
        _add(digest, name, arrays[name])
    return digest.hexdigest()


def _new_digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=32)


def _add(digest: hashlib.blake2b, name: str, array: np.ndarray) -> None:
    digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)


def read_arrays(path: str) -> tuple[dict[str, np.ndarray], JsonObject]:
    """Reads a file of `write_arrays`, verifying its digest.

    Raises:
        CheckpointError: the file is damaged, or was written by a newer version.
    """
    try:
        with open_file(path, "rb") as file:
            arrays = read_npz(file)
        meta = parse_json(arrays.pop("meta").tobytes())
    except (
        OSError,
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({reason(error)})") from error
    if not isinstance(meta, dict):
        raise CheckpointError(
            f"checkpoint {path} is damaged (its description is a {type(meta).__name__})"
        )
    if meta.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {meta.get('format_version')}; this tfscale reads"
            f" {FORMAT_VERSION}"
        )
    if meta.get("digest") != array_digest(arrays):
        raise CheckpointError(
            f"checkpoint {path} is damaged (its arrays do not have the digest written with them)"
        )
    return arrays, meta


def assign_arrays(path: str, arrays: dict[str, np.ndarray], state: Mapping[str, Stored]) -> None:
    """Assigns arrays to the variables of the same names, after checking that all of them fit.

    Raises:
        CheckpointError: a variable is missing or has another shape: the checkpoint is of another
            model.
    """
    for name, variable in state.items():
        if name not in arrays:
            raise CheckpointError(f"checkpoint {path} belongs to another model: it has no {name}")
        if tuple(arrays[name].shape) != tuple(variable.shape):
            raise CheckpointError(
                f"checkpoint {path} belongs to another model: {name} has shape"
                f" {arrays[name].shape}, this model's is {tuple(variable.shape)}"
            )
    extra = sorted(set(arrays) - set(state))
    if extra:
        raise CheckpointError(
            f"checkpoint {path} belongs to another model: it has {extra[0]}, which this model lacks"
        )
    for name, variable in state.items():
        variable.assign(arrays[name])
