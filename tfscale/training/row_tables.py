"""Embedding tables on parameter servers: a worker gets rows and returns their gradient.

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
    """The different ids of a batch.

    `ids` (N,) int32 rise and are filled up with the largest int32; `count` of them are real.
    """

    ids: tf.Tensor
    count: tf.Tensor


class RowTables:
    """The tables of a network of which only rows are read, and how.

    Args:
        network: a network made in the scope of a ParameterServerStrategy. Its embedding layers are
            changed: within `looking_up` they look ids up in a table that holds the batch's rows
            alone.

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
        """Returns the different ids of a batch (B, T)."""
        if not self._weights:
            return Rows(tf.zeros((0,), tf.int32), tf.constant(0))
        size = min(ids.shape.num_elements(), self._smallest)
        different = tf.unique(tf.sort(tf.reshape(ids, (-1,)))).y
        count = tf.size(different)
        padded = tf.pad(different, [[0, size - count]], constant_values=tf.int32.max)
        return Rows(tf.ensure_shape(padded, (size,)), count)

    def read(self, weight: keras.Variable, rows: Rows) -> tf.Tensor:
        """Returns the rows of a table, each from its server: (N, D), zeros after `rows.count`."""
        cuts = _cuts(weight, rows)
        parts = [tf.gather(shard, rows.ids[a:b] - first) for shard, first, a, b in cuts]
        read = tf.concat(parts, axis=0)
        size = rows.ids.shape[0]
        padded = tf.pad(read, [[0, size - rows.count], [0, 0]])
        return tf.ensure_shape(padded, (size, weight.shape[1]))

    def slices(
        self, weight: keras.Variable, gradient: tf.Tensor, rows: Rows
    ) -> list[tf.IndexedSlices]:
        """Cuts the gradient (N, D) of `read` into those of the table's shards."""
        return [
            tf.IndexedSlices(
                gradient[a:b], rows.ids[a:b] - first, tf.constant(shard.shape.as_list())
            )
            for shard, first, a, b in _cuts(weight, rows)
        ]

    @contextlib.contextmanager
    def looking_up(self, ids: tf.Tensor) -> Iterator[None]:
        """Has the layers read the rows that `read` gave for these ids (N,), for the block."""
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
    """Yields each shard of a table, the id of its first row, and the range of `rows` in it."""
    first = 0
    for shard in shards(weight):
        ends = tf.searchsorted(rows.ids, tf.constant([first, first + shard.shape[0]]))
        yield shard, first, ends[0], ends[1]
        first += shard.shape[0]


def _looked_up_only(network: keras.Model) -> list[keras.layers.Embedding]:
    layers = layers_of(network)
    if not getattr(network, "inputs", None):
        return []
    looked_up_only = []
    for layer in layers:
        if not isinstance(layer, keras.layers.Embedding) or not layer.trainable:
            continue
        # Masks are made of the ids, a regularizer is of the whole table, and these two keep
        # something else than it.
        regularized = embedding_table(layer).regularizer is not None
        if layer.mask_zero or regularized or layer.lora_enabled or layer.quantization_mode:
            continue
        table = embedding_table(layer)
        held = [any(v is table for v in own_trainable_variables(other)) for other in layers]
        calls = symbolic_calls(layer)
        nodes = [node for node in calls if not node.arguments.kwargs.get("reverse")]
        tied = len(nodes) < len(calls) and getattr(layer, "tie_weights", True)
        takes_ids = [node.input_tensors[0] is network.inputs[0] for node in nodes]
        if sum(held) == 1 and not tied and nodes and all(takes_ids):
            looked_up_only.append(layer)
    return looked_up_only
