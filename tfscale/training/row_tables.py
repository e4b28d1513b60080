"""Embedding tables that stay on the parameter servers: a worker gets the rows of its batch and
returns their gradient.

A table qualifies if nothing but looking up the network's own input ids reads it. Tied embeddings do
not: their table is also the output projection, which needs all of it.

Shapes: B rows of a batch, T tokens, V vocabulary, D width of a table, N the most different ids of a
batch.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import tensorflow as tf

from tfscale.compat.keras import (
    Call,
    embedding_table,
    layers_of,
    own_trainable_variables,
    symbolic_calls,
)
from tfscale.training.variables import shards


@dataclass(frozen=True)
class Rows:
    """The different ids of a batch: `ids` (N,) int32, rising, filled up with the largest int32;
    `count` are real."""

    ids: tf.Tensor
    count: tf.Tensor


class RowTables:
    """The tables of a network of which only rows are read, and how.

    Args:
        network: a network made in the scope of a ParameterServerStrategy. Its embedding layers are
            changed so that within `looking_up` they take their ids for entries of a table that
            holds the batch's rows alone.

    Example:
        tables = RowTables(network)
        rows = tables.rows_of(ids)
        values = [tables.read(weight, rows) for weight in weights if weight in tables]
    """

    def __init__(self, network: keras.Model):
        layers = _looked_up_only(network)
        self._weights = {id(layer.embeddings) for layer in layers}
        self._smallest = min((layer.input_dim for layer in layers), default=0)
        self._ids: tf.Tensor | None = None
        for layer in layers:
            layer.call = self._by_position(layer.call)

    def __contains__(self, weight: keras.Variable) -> bool:
        return id(weight) in self._weights

    def rows_of(self, ids: tf.Tensor) -> Rows:
        """The different ids of a batch (B, T)."""
        if not self._weights:
            return Rows(tf.zeros((0,), tf.int32), tf.constant(0))
        size = min(ids.shape.num_elements(), self._smallest)
        found = tf.unique(tf.sort(tf.reshape(ids, (-1,)))).y
        count = tf.size(found)
        padded = tf.pad(found, [[0, size - count]], constant_values=tf.int32.max)
        return Rows(tf.ensure_shape(padded, (size,)), count)

    def read(self, weight: keras.Variable, rows: Rows) -> tf.Tensor:
        """The rows of a table: (N, D), zeros where `rows` is filled up. Each server sends its
        own."""
        parts = [
            tf.gather(shard, rows.ids[a:b] - first) for shard, first, a, b in _cuts(weight, rows)
        ]
        size, width = rows.ids.shape[0], weight.shape[1]
        return tf.ensure_shape(
            tf.pad(tf.concat(parts, 0), [[0, size - rows.count], [0, 0]]), (size, width)
        )

    def slices(
        self, weight: keras.Variable, gradient: tf.Tensor, rows: Rows
    ) -> list[tf.IndexedSlices]:
        """The gradient (N, D) of `read`, cut into those of the table's shards."""
        return [
            tf.IndexedSlices(
                gradient[a:b], rows.ids[a:b] - first, tf.constant(shard.shape.as_list())
            )
            for shard, first, a, b in _cuts(weight, rows)
        ]

    @contextlib.contextmanager
    def looking_up(self, ids: tf.Tensor) -> Iterator[None]:
        """While a network is traced, its tables are those that `read` gave for these ids (N,)."""
        self._ids = ids
        try:
            yield
        finally:
            self._ids = None

    def _by_position(self, call: Call) -> Call:
        def call_by_position(inputs, *args, **kwargs):
            if self._ids is None or args or kwargs.get("reverse"):
                return call(inputs, *args, **kwargs)
            positions = tf.searchsorted(self._ids, tf.reshape(inputs, (-1,)))
            return call(tf.reshape(positions, inputs.shape), **kwargs)

        return call_by_position


def _cuts(
    weight: keras.Variable, rows: Rows
) -> Iterator[tuple[tf.Variable, int, tf.Tensor, tf.Tensor]]:
    """Each shard of a table, the id of its first row, and from where to where in `rows` its ids
    stand."""
    first = 0
    for shard in shards(weight):
        ends = tf.searchsorted(rows.ids, tf.constant([first, first + shard.shape[0]]))
        yield shard, first, ends[0], ends[1]
        first += shard.shape[0]


def _looked_up_only(network: keras.Model) -> list[keras.layers.Embedding]:
    layers = layers_of(network)
    found = []
    for layer in layers:
        if (
            not isinstance(layer, keras.layers.Embedding)
            or not layer.trainable
            or not getattr(network, "inputs", None)
        ):
            continue
        # Masks are made of the ids, a regularizer is of the whole table, and these two keep
        # something else than it.
        regularized = embedding_table(layer).regularizer is not None
        if layer.mask_zero or regularized or layer.lora_enabled or layer.quantization_mode:
            continue
        holders = [
            other
            for other in layers
            if any(v is embedding_table(layer) for v in own_trainable_variables(other))
        ]
        calls = symbolic_calls(layer)
        nodes = [node for node in calls if not node.arguments.kwargs.get("reverse")]
        tied = len(nodes) < len(calls) and getattr(layer, "tie_weights", True)
        if (
            len(holders) == 1
            and not tied
            and nodes
            and all(n.input_tensors[0] is network.inputs[0] for n in nodes)
        ):
            found.append(layer)
    return found
