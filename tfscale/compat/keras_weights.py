"""Private names of Keras by which large weights are read and written without copies of all.

Keras 3.15 makes random numbers for weights that a file then replaces, and reads and writes a file
in memory as a whole where there is room for it. When an upgrade of Keras takes a name away,
tests/compat/test_keras_weights.py says which.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import h5py
import keras
import ml_dtypes
import numpy as np
import tensorflow as tf
from keras.src.saving import saving_lib

_PART = 1 << 22
"""Numbers that are read or written at a time."""


@contextlib.contextmanager
def weights_from_files() -> Iterator[None]:
    """Within the block, large weights of new layers are zeros, and files lie on the disk.

    For layers all of whose weights are read from a file, by this thread. Inside the scope of a
    strategy everything is as always.

    Example:
        with weights_from_files():
            model = keras.saving.load_model("model.keras", compile=False)
    """
    if tf.distribute.has_strategy():
        yield
        return
    thread = threading.get_ident()
    variable: Any = keras.Variable
    initialize, assign = variable._initialize_with_initializer, variable.assign
    read = saving_lib.H5IOStore.__getitem__

    def with_zeros(self, initializer):
        size = int(np.prod(self._shape, dtype=int))
        if threading.get_ident() != thread or size <= _PART or "float" not in self._dtype:
            return initialize(self, initializer)
        return self._initialize(lambda: tf.zeros(self._shape, self._dtype))

    def in_parts(self, value):
        if not isinstance(value, h5py.Dataset):
            return assign(self, value)
        if tuple(value.shape) != tuple(self.shape):  # Keras says so in its own words.
            return assign(self, np.zeros(value.shape))
        kind = ml_dtypes.bfloat16 if "dtype" in value.attrs else value.dtype
        self._value, parts = None, []
        for place in parts_of(value.shape):
            part = np.empty((place.stop - place.start, *value.shape[1:]), kind)
            value.read_direct(part, place)
            parts.append(tf.cast(part, self._dtype))
        # A new variable: after an assignment to a part of one TensorFlow copies all of it whenever
        # it is read.
        self._initialize(tf.concat(parts, axis=0))
        return self.value

    def without_copy(self, key):
        dataset = saving_lib.safe_get_h5_dataset(self._h5_entry_group, key)
        is_large = isinstance(dataset, h5py.Dataset) and dataset.size > _PART
        known = is_large and dataset.attrs.get("dtype", "bfloat16") == "bfloat16"
        return dataset if known and threading.get_ident() == thread else read(self, key)

    with (
        _files_on_disk(),
        mock.patch.object(variable, "_initialize_with_initializer", with_zeros),
        mock.patch.object(variable, "assign", in_parts),
        mock.patch.object(saving_lib.H5IOStore, "__getitem__", without_copy),
    ):
        yield


@contextlib.contextmanager
def weights_to_files() -> Iterator[None]:
    """Within the block, files of Keras are written in parts.

    Example:
        with weights_to_files():
            network.save("model.keras")
    """
    write = saving_lib.H5IOStore.__setitem__

    def in_parts(self, key, value):
        shape = tuple(value.shape)
        is_variable = isinstance(value, keras.Variable)
        if not is_variable or value.dtype != "float32" or np.prod(shape, dtype=int) <= _PART:
            write(self, key, value)
            return
        if not self._h5_entry_initialized:
            self._create_h5_group(self._h5_entry_path)
        dataset = self._h5_entry_group.create_dataset(key, shape, np.float32)
        tensor = tf.convert_to_tensor(value.value)
        for place in parts_of(shape):
            dataset[place] = tensor[place].numpy()

    with _files_on_disk(), mock.patch.object(saving_lib.H5IOStore, "__setitem__", in_parts):
        yield


def _files_on_disk() -> contextlib.AbstractContextManager[Any]:
    """Has a file's weights lie in a temporary file beside it, and not in memory."""
    return mock.patch.object(saving_lib, "is_memory_sufficient", lambda model: False)


def parts_of(shape: tuple[int, ...]) -> list[slice]:
    """Returns parts of the first axis."""
    if not shape:
        return []
    step = max(1, _PART // max(1, int(np.prod(shape[1:], dtype=int))))
    return [slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]


class StoredValues:
    """The numbers of a weight in a file; they are in memory while they are asked for."""

    def __init__(self, weight: keras.Variable, path: str):
        self.shape = tuple(int(size) for size in weight.shape)
        self.dtype = np.dtype(weight.dtype)
        self._path = path
        tensor = tf.convert_to_tensor(weight.value)
        with open(path, "wb") as file:
            for place in parts_of(self.shape):
                file.write(tensor[place].numpy().tobytes())
            if not self.shape:
                file.write(tensor.numpy().tobytes())

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        width = int(np.prod(self.shape[1:], dtype=int))
        count, offset = (stop - start) * width, start * width * self.dtype.itemsize
        values = np.fromfile(self._path, self.dtype, count, offset=offset)
        return values.reshape(stop - start, *self.shape[1:])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        values = np.fromfile(self._path, self.dtype).reshape(self.shape)
        return values if dtype is None else values.astype(dtype)


def put_on_disk(model: keras.Model, folder: str) -> None:
    """Puts the weights of a model into files, so that they take no memory.

    From then on the model can be asked for its weights by `numpy.asarray` and by rows, and for
    nothing else.

    Args:
        model: its weights are in memory.
        folder: receives a file for each weight; must be there as long as the model is.
    """
    for index, variable in enumerate(model.weights):
        variable._value = StoredValues(variable, f"{folder}/{index}")


def assign_rows(target: keras.Variable, source: keras.Variable, columns: int | None = None) -> None:
    """Assigns the first rows and columns of a weight.

    In one piece: an assignment to a part of a variable makes TensorFlow copy all of the variable
    whenever it is read from then on.

    Args:
        target: (V, D); as many rows are read.
        source: a weight in memory or on disk, with as many rows or more.
        columns: that are read of each row; all if left out.
    """
    target.assign(np.asarray(source.value[0 : int(target.shape[0])])[:, :columns])
