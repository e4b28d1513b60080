"""A network that has, for a while, other weights, such as those that a recipe stores.

A second network with rounded weights would take as much memory again; here the weights themselves
are rounded, and their own values wait on the disk.
"""

import contextlib
import os
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.handed_over import hand_over, to_hand_over
from tfscale.compat.keras_weights import StoredValues
from tfscale.config import Quantization
from tfscale.files.scratch import scratch_folder, scratch_writes
from tfscale.launching.interruption import signals_wait
from tfscale.models.recipe import WeightFormat
from tfscale.models.weight_formats import store, weight_formats

_PART = 1 << 20
"""Numbers that are rounded at a time."""


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

    def stored(weight: keras.Variable) -> np.ndarray | None:
        # A weight without a format, such as a seed, is no number of the file.
        form = formats.get(weight.path)
        return None if form is None or form.bits == 32 else _rounded(weight, form)

    with numbers_in_place(network, stored):
        yield


@contextlib.contextmanager
def numbers_in_place(
    network: keras.Model, numbers: Callable[[keras.Variable], np.ndarray | None]
) -> Iterator[None]:
    """Gives weights of a network other numbers within the block; afterwards they are as they were,
    also where the block raises or is interrupted.

    Args:
        network: any network.
        numbers: makes those of a weight; None where it stays.

    Example:
        with numbers_in_place(network, lambda weight: kernels.get(weight.path)):
            logits = network(ids)
    """
    with scratch_folder("tfscale-export-") as folder:
        kept: list[tuple[keras.Variable, StoredValues]] = []
        try:
            for weight in network.weights:
                other = numbers(weight)
                if other is None:
                    continue
                with scratch_writes():
                    values = StoredValues(weight, os.path.join(folder, str(len(kept))))
                kept.append((weight, values))
                hand_over(weight, other)
            yield
        finally:
            # A second Ctrl-C would leave some of them changed.
            with signals_wait():
                for weight, values in kept:
                    hand_over(weight, np.asanyarray(values))


def _rounded(weight: keras.Variable, form: WeightFormat) -> np.ndarray:
    """Returns the numbers of a weight as they are stored, rounded part by part."""
    tensor = tf.convert_to_tensor(weight.value)
    values = to_hand_over(tuple(int(size) for size in weight.shape), np.dtype(np.float32))
    for place in _parts(weight, form):
        values[place] = store(tensor[place], form).numpy()
    return values


def _parts(weight: keras.Variable, form: WeightFormat) -> list[tuple[slice, ...]]:
    """Returns parts of a weight that are rounded each by itself; all of it where one scale could be
    shared by all."""
    shape = tuple(int(size) for size in weight.shape)
    whole = tuple(slice(0, size) for size in shape)
    if len(shape) != 2 or not isinstance(form.axis, int) or form.gates:
        return [whole]
    axis = 1 - form.axis
    step = max(1, _PART // shape[form.axis])
    return [
        (*whole[:axis], slice(start, min(start + step, shape[axis])), *whole[axis + 1 :])
        for start in range(0, shape[axis], step)
    ]
