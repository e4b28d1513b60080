"""Averages of the weights over the steps, in the place of the weights (Polyak and Juditsky 1992)."""

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf


@contextlib.contextmanager
def averages_in_place(variables: Sequence[tf.Variable], averages: Sequence[tf.Variable]) -> Iterator[None]:
    """Gives variables the values of their averages for the block, and their own back after it.

    Args:
        variables: what is trained.
        averages: one for each, or none at all: then nothing changes.
    """
    if not averages:
        yield
        return
    trained = [tf.identity(_local(variable)) for variable in variables]
    for variable, average in zip(variables, averages, strict=True):
        variable.assign(_local(average))
    try:
        yield
    finally:
        for variable, value in zip(variables, trained, strict=True):
            variable.assign(value)


def _local(variable: tf.Variable) -> tf.Tensor:
    values = getattr(variable, "values", None)
    return (values[0] if values else variable).read_value()
