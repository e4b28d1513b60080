"""A network that has, for a while, other weights, such as those that a recipe stores.

A second network with rounded weights would take as much memory again; here the weights themselves
are rounded, and their own values wait on the disk.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.handed_over import hand_over, release, to_hand_over
from tfscale.compat.keras_weights import StoredValues
from tfscale.compat.memory import give_memory_back
from tfscale.config import Quantization
from tfscale.files.scratch import scratch_folder, scratch_writes
from tfscale.launching.interruption import signals_wait
from tfscale.models.recipe import WeightFormat
from tfscale.models.weight_formats import store, weight_formats

_PART = 1 << 20
"""Numbers that are rounded at a time."""
MadeFrom = Callable[[StoredValues], np.ndarray]
"""Makes numbers of a weight from its own."""


@contextlib.contextmanager
def rounded_in_place(network: keras.Model, quantize: Quantization) -> Iterator[None]:
    """Rounds the weights of a network within the block as a recipe does; afterwards they are as
    they were, also where the block raises or is interrupted.

    Args:
        network: computes in float32.
        quantize: the recipe.

    Example:
        with rounded_in_place(network, "int8"):
            logits = network(ids)
    """
    formats = weight_formats(network, quantize)

    def stored(weight: keras.Variable) -> MadeFrom | None:
        # A weight without a format, such as a seed, is no number of the file.
        form = formats.get(weight.path)
        return None if form is None or form.bits == 32 else functools.partial(_rounded, form=form)

    with numbers_in_place(network, stored):
        yield


def given(numbers: Mapping[str, np.ndarray]) -> Callable[[keras.Variable], MadeFrom | None]:
    """Returns what `numbers_in_place` takes, of numbers by the path of their weight."""

    def of(weight: keras.Variable) -> MadeFrom | None:
        return (lambda _: numbers[weight.path]) if weight.path in numbers else None

    return of


def in_type(dtype: str) -> Callable[[keras.Variable], MadeFrom | None]:
    """Returns what `numbers_in_place` takes, of all weights rounded to a type of NumPy."""

    def of(weight: keras.Variable) -> MadeFrom | None:
        rounds = np.dtype(weight.dtype) == np.float32
        return (lambda own: np.asarray(own).astype(dtype).astype("float32")) if rounds else None

    return of


@contextlib.contextmanager
def numbers_in_place(
    network: keras.Model, numbers: Callable[[keras.Variable], MadeFrom | None]
) -> Iterator[None]:
    """Gives weights of a network other numbers within the block; afterwards they are as they were,
    also where the block raises or is interrupted.

    Args:
        network: any network.
        numbers: returns what makes those of a weight from its own, which then lie on the disk; None
            where it stays.

    Example:
        with numbers_in_place(network, given({"block_0/expand/kernel": kernel})):
            logits = network(ids)
    """
    with scratch_folder("tfscale-export-") as folder:
        kept: list[tuple[keras.Variable, StoredValues]] = []
        try:
            for weight in network.weights:
                make = numbers(weight)
                if make is None:
                    continue
                with scratch_writes():
                    values = StoredValues(weight, os.path.join(folder, str(len(kept))))
                kept.append((weight, values))
                release(weight)
                hand_over(weight, make(values))
            give_memory_back()
            yield
        finally:
            # A second Ctrl-C would leave some of them changed.
            with signals_wait():
                for weight, values in kept:
                    release(weight)
                    hand_over(weight, np.asanyarray(values))


def _rounded(own: StoredValues, form: WeightFormat) -> np.ndarray:
    """Returns the numbers of a weight as they are stored, rounded part by part."""
    values = to_hand_over(own.shape, np.dtype(np.float32))
    if _row_by_row(own.shape, form):
        step = max(1, _PART // own.shape[1])
        for start in range(0, own.shape[0], step):
            rows = slice(start, start + step)
            values[rows] = store(tf.constant(own[rows]), form).numpy()
        return values
    whole = np.asarray(own)
    for place in _parts(own.shape, form):
        values[place] = store(tf.constant(whole[place]), form).numpy()
    return values


def _row_by_row(shape: tuple[int, ...], form: WeightFormat) -> bool:
    """Returns whether no two rows share a scale, so that each is rounded by itself."""
    return len(shape) == 2 and (form.bits == 16 or (form.axis == 1 and not form.gates))


def _parts(shape: tuple[int, ...], form: WeightFormat) -> list[tuple[slice, ...]]:
    """Returns columns that are rounded by themselves; all of a weight where one scale could be
    shared by all."""
    if len(shape) != 2 or form.axis != 0 or form.gates:
        return [tuple(slice(0, size) for size in shape)]
    step = max(1, _PART // shape[0])
    return [(slice(None), slice(start, start + step)) for start in range(0, shape[1], step)]
