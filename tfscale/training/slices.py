"""Cuts global batches of any structure into the rows of replicas and micro-batches.

No row is made up and none is left out: where a batch cannot be cut evenly, some parts have one row
more than others, or none.

Shapes: B rows of a batch, P parts.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfscale.compat.keras_trainer import Nested
from tfscale.errors import ConfigError


def map_parts(function: Callable[[tf.Tensor], tf.Tensor], batch: Nested) -> Nested:
    """Returns a batch of which each tensor went through a function; None stays None."""
    return keras.tree.map_structure(lambda part: None if part is None else function(part), batch)


def check_sliceable(batch: Nested) -> None:
    """Refuses tensors of which no rows can be taken, as far as shapes say it.

    Raises:
        ConfigError: names the kind of tensor, or its shape.
    """
    parts = [part for part in keras.tree.flatten(batch) if part is not None]
    for part in parts:
        if isinstance(part, tf.SparseTensor):
            raise ConfigError(
                "sparse tensors cannot be cut into rows for replicas or micro-batches; give dense"
                " ones (tf.sparse.to_dense), or train on one device with micro_batches=1"
            )
        first, own = parts[0].shape, part.shape
        known = bool(first.rank and own.rank and first[0] and own[0])
        if own.rank == 0 or (known and first[0] != own[0]):
            raise ConfigError(
                f"tensors of a batch have the shapes {tuple(first)} and {tuple(own)}, and replicas"
                " and micro-batches take the same rows of all; repeat what is there once for each"
                " row, make it a part of the network, or train on one device with micro_batches=1"
            )


def bounds(rows: tf.Tensor, index: tf.Tensor | int, parts: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first row of a part and that after its last, of `rows` rows in `parts` parts."""
    return index * rows // parts, (index + 1) * rows // parts


def sliced(batch: Nested, rows: tf.Tensor, index: tf.Tensor | int, parts: int) -> Nested:
    """Returns the rows of one part of a batch that need not be divisible."""
    first, end = bounds(rows, index, parts)
    return map_parts(lambda part: part[first:end], batch)


def stacked(batch: Nested, parts: int) -> Nested:
    """Returns a batch (B, ...) that is divisible as (P, B / P, ...), for `part[index]`."""

    def cut(part: tf.Tensor) -> tf.Tensor:
        if isinstance(part, tf.RaggedTensor):
            raise ConfigError(
                "ragged tensors cannot be cut into micro-batches; give dense ones"
                " (ragged.to_tensor()), or micro_batches=1"
            )
        rows = part.shape[0] // parts if part.shape[0] is not None else tf.shape(part)[0] // parts
        inner = [
            tf.shape(part)[axis] if size is None else size
            for axis, size in enumerate(part.shape)
            if axis
        ]
        return tf.reshape(part, [parts, rows, *inner])

    return map_parts(cut, batch)


def static_rows(batch: Nested) -> int | None:
    """Returns B where the shapes of a batch say it; None where they do not."""
    first = next(part for part in keras.tree.flatten(batch) if part is not None)
    return first.shape[0] if first.shape.rank else None


def zeros_of(part: Callable, *arguments: Nested) -> Any:
    """Returns zeros in the shapes of what a function gives, without computing it.

    Args:
        part: a `tf.function`, whose trace is taken, or a function that runs eagerly.
        *arguments: those of a call.
    """
    traced = (
        part if isinstance(part, tf.types.experimental.PolymorphicFunction) else tf.function(part)
    )
    shapes = traced.get_concrete_function(*arguments).structured_outputs
    return keras.tree.map_structure(lambda one: tf.zeros(one.shape, one.dtype), shapes)
