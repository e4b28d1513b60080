"""Private names of Keras by which large weights are read and written without copies of all.

Keras 3.15 makes random numbers for weights that a file then replaces, and reads and writes a file
in memory as a whole where there is room for it. When an upgrade of Keras takes a name away,
tests/compat/test_keras_weights.py says which.
"""

import contextlib
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeAlias
from unittest import mock

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.saving import saving_lib

from tfscale.compat.handed_over import hand_over, to_hand_over, zeros

_PART = 1 << 22
"""Numbers that are read or written at a time."""
_LOCK = threading.RLock()
"""Held within a block that changes Keras: of two that overlap in time, the one that ends last would
put back what the other made."""
_Waiting: TypeAlias = dict[int, tuple["weakref.ref[Any]", Any]]
"""Weights by their id, which cannot be compared, and their initializers."""


@contextlib.contextmanager
def weights_from_files() -> Iterator[None]:
    """Within the block, large weights of new layers are zeros until they get a value.

    Those that have none at its end get the numbers of their initializers. Keras files lie on the
    disk while they are read. All of it is for this thread; inside the scope of a strategy
    everything is as always.

    Example:
        with weights_from_files():
            model = keras.saving.load_model("model.keras", compile=False)
    """
    if tf.distribute.has_strategy():
        yield
        return
    waiting: _Waiting = {}
    with _LOCK, _files_on_disk(), _zeros_at_first(waiting), _read_once():
        yield
    for reference, initializer in waiting.values():
        weight = reference()
        # A layer may have written into the variable of TensorFlow itself.
        if weight is not None and not tf.reduce_any(weight._value != 0):
            hand_over(weight, initializer(weight._shape, dtype=weight._dtype))


@contextlib.contextmanager
def _zeros_at_first(waiting: _Waiting) -> Iterator[None]:
    """Has large weights of this thread's new layers be zeros at first.

    Args:
        waiting: receives them, with their initializers; those that get a value are taken out.
    """
    thread = threading.get_ident()
    variable: Any = keras.Variable
    initialize, assign = variable._initialize_with_initializer, variable.assign

    def with_zeros(self, initializer):
        size = int(np.prod(self._shape, dtype=int))
        if threading.get_ident() != thread or size <= _PART or "float" not in self._dtype:
            return initialize(self, initializer)
        waiting[id(self)] = weakref.ref(self), initializer
        return self._initialize(lambda: zeros(self._shape, self._dtype))

    def in_place_of_zeros(self, value):
        waits = id(self) in waiting and tf.executing_eagerly() and not in_stateless_scope()
        if not waits:
            return assign(self, value)
        if isinstance(value, np.ndarray) and value.shape == tuple(self.shape):
            result = hand_over(self, value)
        else:
            result = assign(self, value)
        waiting.pop(id(self), None)
        return result

    with (
        mock.patch.object(variable, "_initialize_with_initializer", with_zeros),
        mock.patch.object(variable, "assign", in_place_of_zeros),
    ):
        yield


def _read_once() -> AbstractContextManager[Any]:
    """Has a large weight be in memory once when it is read; Keras makes an array of an array."""
    read = saving_lib.H5IOStore.__getitem__

    def in_one_copy(self, key):
        dataset = saving_lib.safe_get_h5_dataset(self._h5_entry_group, key)
        is_large = isinstance(dataset, h5py.Dataset) and dataset.size > _PART
        if not is_large or "dtype" in dataset.attrs:
            return read(self, key)
        values = to_hand_over(dataset.shape, dataset.dtype)
        dataset.read_direct(values.view(np.ndarray))
        return values

    return mock.patch.object(saving_lib.H5IOStore, "__getitem__", in_one_copy)


@contextlib.contextmanager
def weights_to_files() -> Iterator[None]:
    """Within the block, files of Keras are written in parts.

    Example:
        with weights_to_files():
            network.save("model.keras")
    """
    with _LOCK, _files_on_disk(), _written_in_parts():
        yield


def _written_in_parts() -> AbstractContextManager[Any]:
    write = saving_lib.H5IOStore.__setitem__

    def in_parts(self, key, value):
        # A layer may store what is no variable, such as a number.
        large = isinstance(value, keras.Variable) and np.prod(value.shape, dtype=int) > _PART
        if not large or value.dtype != "float32":
            write(self, key, value)
            return
        if not self._h5_entry_initialized:
            self._create_h5_group(self._h5_entry_path)
        shape = tuple(value.shape)
        dataset = self._h5_entry_group.create_dataset(key, shape, np.float32)
        tensor = tf.convert_to_tensor(value.value)
        for place in parts_of(shape):
            dataset[place] = tensor[place].numpy()

    return mock.patch.object(saving_lib.H5IOStore, "__setitem__", in_parts)


def _files_on_disk() -> AbstractContextManager[Any]:
    """Has a file's weights lie in a temporary file beside it, and not in memory."""
    thread, fits = threading.get_ident(), saving_lib.is_memory_sufficient

    def fits_elsewhere(model):
        return threading.get_ident() != thread and fits(model)

    return mock.patch.object(saving_lib, "is_memory_sufficient", fits_elsewhere)


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
        return self._read((stop - start, *self.shape[1:]), start)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        values = self._read(self.shape, 0)
        return values if dtype is None else values.astype(dtype)

    def _read(self, shape: tuple[int, ...], first: int) -> np.ndarray:
        values = to_hand_over(shape, self.dtype)
        with open(self._path, "rb") as file:
            file.seek(first * int(np.prod(shape[1:], dtype=int)) * self.dtype.itemsize)
            file.readinto(values.reshape(-1).view(np.uint8).data)
        return values


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
    target.assign(np.asanyarray(source.value[0 : int(target.shape[0])])[:, :columns])
