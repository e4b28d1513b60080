"""Assignments that are made or left out by a condition, without a branch.

XLA computes both branches of a condition and copies what they write. A choice of each number, at
the assignment that writes it, is part of the loop that computes it and costs nothing. Made later,
from the values before all assignments, it would keep those in memory: an update by Adam then takes
1.6 times as long.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

_WRITES = ("assign", "assign_add", "assign_sub")


@contextlib.contextmanager
def written_if(
    wanted: tf.Tensor, variables: Sequence[tf.Variable], at_once: bool = True
) -> Iterator[None]:
    """Makes what a block writes to variables depend on a condition.

    Args:
        wanted: scalar bool; where it is false, the variables keep the values that they had.
        variables: all that the block writes.
        at_once: whether the choice can be made at each assignment. Otherwise it is made at the end
            of the block; so it is, in any case, for variables of several replicas and for those
            that the block writes otherwise than by `assign`, `assign_add` and `assign_sub`.

    Example:
        with written_if(tf.math.is_finite(norm), [weight]):
            weight.assign_sub(0.1 * gradient)
    """
    before = [tf.identity(variable) for variable in variables]
    chosen: set[int] = set()
    otherwise: set[int] = set()
    plain = [v for v in variables if not isinstance(v, tf.distribute.DistributedValues)]
    try:
        for variable in plain if at_once else []:
            _choose(variable, wanted, chosen, otherwise)
        yield
    finally:
        for variable in plain if at_once else []:
            _restore(variable)
    for variable, value in zip(variables, before, strict=True):
        if id(variable) not in chosen - otherwise:
            variable.assign(tf.where(wanted, tf.convert_to_tensor(variable), value))


def _choose(
    variable: tf.Variable, wanted: tf.Tensor, chosen: set[int], otherwise: set[int]
) -> None:
    """Has a variable's own methods write by choice, until `_restore`.

    Args:
        variable: of one device.
        wanted: scalar bool.
        chosen: gets its identity when it is written by choice.
        otherwise: gets its identity when some of its rows are written.
    """
    assign = variable.assign

    def write(value: Any, *arguments: Any, **options: Any) -> Any:
        chosen.add(id(variable))
        value = tf.convert_to_tensor(value, variable.dtype)
        # A choice would repeat a smaller value until it fits.
        variable.shape.assert_is_compatible_with(value.shape)
        old = tf.convert_to_tensor(variable)
        return assign(tf.where(wanted, value, old), *arguments, **options)

    def add(value: Any, *arguments: Any, **options: Any) -> Any:
        return write(variable + tf.cast(value, variable.dtype), *arguments, **options)

    def subtract(value: Any, *arguments: Any, **options: Any) -> Any:
        return write(variable - tf.cast(value, variable.dtype), *arguments, **options)

    for name, method in zip(_WRITES, (write, add, subtract), strict=True):
        setattr(variable, name, method)

    def noted(method: Callable) -> Callable:
        def scatter(*arguments: Any, **options: Any) -> Any:
            otherwise.add(id(variable))
            return method(*arguments, **options)

        return scatter

    for name in _scatters(variable):
        setattr(variable, name, noted(getattr(variable, name)))


def _scatters(variable: tf.Variable) -> list[str]:
    """Returns the names of the methods that write some rows."""
    return [name for name in dir(type(variable)) if "scatter" in name and name[0] != "_"]


def _restore(variable: tf.Variable) -> None:
    for name in (*_WRITES, *_scatters(variable)):
        variable.__dict__.pop(name, None)
