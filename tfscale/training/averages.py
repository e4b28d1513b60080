"""Other values in the place of the weights: averages over the steps (Polyak and Juditsky 1992),
rounded weights."""

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf


@contextlib.contextmanager
def values_in_place(
    variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]
) -> Iterator[None]:
    """Gives variables other values for the block, and their own back after it.

    Args:
        variables: what is trained.
        values: one for each, or none at all: then nothing changes.
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


def local_value(variable: tf.Variable) -> tf.Tensor:
    """What a variable is on this process's first replica."""
    values = getattr(variable, "values", None)
    return (values[0] if values else variable).read_value()
