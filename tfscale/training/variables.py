"""Variables that are on several replicas or parameter servers, and values put in their place."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf


def replicated(value: tf.types.experimental.TensorLike, dtype: tf.DType) -> tf.Variable:
    """Returns a variable that is not trained and is the same on every replica."""
    return tf.Variable(
        value, dtype=dtype, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
    )


def local_value(variable: tf.Variable) -> tf.Tensor:
    """Returns what a variable is on this process's first replica."""
    copies = getattr(variable, "values", None)
    return (copies[0] if copies else variable).read_value()


@contextlib.contextmanager
def values_in_place(
    variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]
) -> Iterator[None]:
    """Gives variables other values for the block, and their own back after it.

    Args:
        variables: what is trained.
        values: one for each, such as averages or rounded weights; or none, and nothing changes.
    """
    if not values:
        yield
        return
    trained = [tf.identity(local_value(variable)) for variable in variables]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    try:
        yield
    finally:
        for variable, value in zip(variables, trained, strict=True):
            variable.assign(value)


def shards(weight: keras.Variable) -> list[tf.Variable]:
    """Returns the variables that hold a weight: its shards on servers, or the one that is all."""
    return list(getattr(weight.value, "variables", [weight.value]))


class Joined:
    """Parts of one array along its first axis, with what a checkpoint needs of a variable."""

    def __init__(self, parts: Sequence[tf.Variable]):
        self.parts = parts
        self.shape = tf.TensorShape([sum(part.shape[0] for part in parts), *parts[0].shape[1:]])

    def numpy(self) -> np.ndarray:
        """Returns the whole array."""
        return np.concatenate([part.numpy() for part in self.parts])

    def assign(self, value: np.ndarray) -> None:
        """Gives each variable its part."""
        ends = np.cumsum([part.shape[0] for part in self.parts])[:-1]
        for part, piece in zip(self.parts, np.split(value, ends), strict=True):
            part.assign(piece)


Stored: TypeAlias = tf.Variable | Joined
"""A variable, or the shards of one, that a checkpoint holds as one array."""


def joined(parts: Sequence[tf.Variable]) -> Stored:
    """Returns a variable, or what stands for several that are the parts of one array."""
    return parts[0] if len(parts) == 1 else Joined(parts)
