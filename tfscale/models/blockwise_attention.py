"""Causal attention block by block, which skips the keys that no query of a block sees.

The queries are cut into blocks, and a block meets the blocks of keys from the one in which the
document of its first query begins (or its window) up to its own. Neither scores nor weights are
kept: a softmax that is corrected as it goes (Milakov and Gimelshein 2018, "Online normalizer
calculation for softmax") needs one block of keys at a time, and the backward pass computes the
weights again from the logarithm of their sum (Dao et al. 2022, "FlashAttention").

The pairs of blocks stand in one long list, block of queries after block of queries. It is as long
as the documents make it, so a loop goes through it. Some parts of the list are walked at once, as
the rows of larger products.

Shapes: B batch, T tokens, H query heads, G key-value heads, R = H / G, K width of a head, L tokens
of a block, N = T / L rounded up, P walks.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfscale.models.cached import soft_capped

BLOCK = 128
"""L: the scores of a few heads fit a processor's cache, and its products are large enough."""
_WALKS = 4
"""P: more spread better over the cores of a processor, and need more of its cache."""
_HIDDEN = -1e9
_NEVER = np.iinfo(np.int32).max


@dataclass(frozen=True)
class _Shape:
    """The sizes of one call: G, R, K, L and N, and the B N blocks of all rows."""

    groups: int
    repeats: int
    width: int
    block: int
    row_blocks: int
    blocks: int | tf.Tensor

    def cut(self, x: tf.Tensor) -> tf.Tensor:
        """(B, T, n G, K) -> (B N, G, n L, K), padded to whole blocks."""
        length, heads = x.shape[1], x.shape[2]
        x = tf.pad(x, [[0, 0], [0, self.row_blocks * self.block - length], [0, 0], [0, 0]])
        shape = (-1, self.block, self.groups, heads // self.groups, self.width)
        x = tf.transpose(tf.reshape(x, shape), (0, 2, 3, 1, 4))
        return tf.reshape(x, (-1, self.groups, heads // self.groups * self.block, self.width))

    def joined(self, x: tf.Tensor, length: int) -> tf.Tensor:
        """The way back from `cut`, of queries."""
        shape = (-1, self.groups, self.repeats, self.block, self.width)
        x = tf.transpose(tf.reshape(x, shape), (0, 3, 1, 2, 4))
        heads = self.groups * self.repeats
        return tf.reshape(x, (-1, self.row_blocks * self.block, heads, self.width))[:, :length]


def blockwise_attention(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    segments: tf.Tensor | None = None,
    *,
    window: int = 0,
    soft_cap: float = 0.0,
    block: int = BLOCK,
) -> tf.Tensor:
    """Returns the values that each query takes from its own document, up to itself.

    It is what softmax(query key^T) value gives without dropout, up to rounding, and has gradients.

    Args:
        query: (B, T, H, K), scaled; T is known.
        key: (B, T, G, K); each of its heads is read by R query heads that follow each other.
        value: (B, T, G, K).
        segments: the document of each token (B, T) int32, numbers that only grow along a row; None
            for one document.
        window: tokens that a token sees, itself included; 0 for all.
        soft_cap: bound of the scores, by `soft_capped`; 0 has none.
        block: L.

    Returns:
        (B, T, H, K).

    Example:
        mixed = blockwise_attention(query * width**-0.5, key, value, documents.segments(ids))
    """
    length, groups = query.shape[1], key.shape[2]
    row_blocks = -(-length // block)
    rows = query.shape[0] if query.shape[0] is not None else tf.shape(query)[0]
    repeats, width = query.shape[2] // groups, query.shape[3]
    shape = _Shape(groups, repeats, width, block, row_blocks, rows * row_blocks)
    if segments is not None:
        padding = [[0, 0], [0, row_blocks * block - length]]
        segments = tf.pad(segments, padding, constant_values=_NEVER)
    pairs = _Pairs(shape, segments, window)
    scores = _Scores(shape, segments, window, soft_cap)

    @tf.custom_gradient
    def attend(query, key, value):
        mixed, log_sums = _forward(query, key, value, shape, pairs, scores)

        def gradients(upstream):
            return _backward(query, key, value, mixed, log_sums, upstream, shape, pairs, scores)

        return mixed, gradients

    return shape.joined(attend(*(shape.cut(x) for x in (query, key, value))), length)


class _Pairs:
    """The list of pairs of blocks, and the parts of it that are walked at once.

    Blocks have numbers from 0 to B N over all rows.

    Args:
        shape: of the call.
        segments: (B, N L) int32 or None.
        window: tokens that a token sees; 0 for all.
    """

    def __init__(self, shape: _Shape, segments: tf.Tensor | None, window: int):
        starts = np.arange(shape.row_blocks, dtype="int32") * shape.block
        # The first token that the first query of each block sees.
        seen = np.maximum(starts - window + 1, 0) if window else np.zeros_like(starts)
        first = tf.tile(seen[None], (shape.blocks // shape.row_blocks, 1))
        if segments is not None:
            earlier = segments[:, None] < segments[:, :: shape.block, None]
            first = tf.maximum(first, tf.reduce_sum(tf.cast(earlier, tf.int32), axis=2))
        number = tf.range(shape.blocks)
        self.first = number // shape.row_blocks * shape.row_blocks
        self.first += tf.reshape(first, (-1,)) // shape.block
        """The first block of keys that each block of queries meets (B N,)."""
        self.ends = tf.cumsum(number - self.first + 1)
        """Pairs up to each block of queries, its own included (B N,)."""
        total = self.ends[-1]
        # A walk goes through whole blocks of queries: those that end in its share of the list.
        shares = (self.ends - 1) * _WALKS // total
        blocks = tf.searchsorted(shares, tf.range(_WALKS + 1))
        bounds = tf.gather(tf.concat([[0], self.ends], axis=0), blocks)
        self._begin, self._stop = bounds[:-1], bounds[1:]
        self.steps = tf.reduce_max(self._stop - self._begin)

    def __call__(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the blocks of queries and of keys of each walk (P,), and which walks have ended:
        they stay where they are."""
        place = self._begin + step
        ended = place >= self._stop
        place = tf.minimum(place, tf.maximum(self._stop - 1, 0))
        queries = tf.searchsorted(self.ends, place, side="right")
        return queries, queries - (tf.gather(self.ends, queries) - 1 - place), ended


class _Scores:
    """The scores of pairs of blocks.

    Args:
        shape: of the call.
        segments: (B, N L) int32 or None.
        window: tokens that a token sees; 0 for all.
        soft_cap: bound of the scores; 0 has none.
    """

    def __init__(self, shape: _Shape, segments: tf.Tensor | None, window: int, soft_cap: float):
        self._shape, self._window, self._cap = shape, window, soft_cap
        self._segments = None
        if segments is not None:
            self._segments = tf.reshape(segments, (-1, shape.block))
        places = np.arange(shape.block, dtype="int32")
        self._distance = places[:, None] - places

    def __call__(self, query, key, queries, keys, ended):
        """Returns scores (P, G, R L, L) float32, with what is out of sight far below the others.

        Besides, their derivative by those without a bound.
        """
        shape, block = self._shape, self._shape.block
        scores = soft_capped(
            tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32), self._cap
        )
        slope = 1.0 - tf.square(scores / self._cap) if self._cap else 1.0
        distance = (queries - keys)[:, None, None] * block + self._distance
        hidden = (distance < 0) | ended[:, None, None]
        if self._window:
            hidden |= distance >= self._window
        if self._segments is not None:
            own, other = (tf.gather(self._segments, blocks) for blocks in (queries, keys))
            hidden |= own[:, :, None] != other[:, None]
        # All heads look at the same keys.
        by_head = tf.reshape(scores, (_WALKS, shape.groups, shape.repeats, block, block))
        by_head += (tf.cast(hidden, tf.float32) * _HIDDEN)[:, None, None]
        return tf.reshape(by_head, scores.shape), slope


def _forward(query, key, value, shape, pairs, scores):
    """(B N, G, R L, K) -> mixed values of the same shape, and the logarithm of the summed powers
    (B N, G, R L, 1) float32."""
    rows = shape.repeats * shape.block

    def body(step, highest, total, mixed, all_mixed, log_sums):
        queries, keys, ended = pairs(step)
        score, _ = scores(tf.gather(query, queries), tf.gather(key, keys), queries, keys, ended)
        # From a new block of queries on, what was before is multiplied by exp(-1e9) = 0.
        begins = (keys == tf.gather(pairs.first, queries)) & ~ended
        highest = tf.where(begins[:, None, None, None], _HIDDEN, highest)
        higher = tf.maximum(highest, tf.reduce_max(score, axis=-1, keepdims=True))
        weights, correction = tf.exp(score - higher), tf.exp(highest - higher)
        total = total * correction + tf.reduce_sum(weights, axis=-1, keepdims=True)
        taken = tf.matmul(tf.cast(weights, value.dtype), tf.gather(value, keys))
        mixed = mixed * correction + tf.cast(taken, tf.float32)
        # What the last pair of a block writes stays. Walks that have ended write beside the list.
        places = tf.where(ended, shape.blocks, queries)
        all_mixed = _written(all_mixed, places, mixed / total)
        log_sums = _written(log_sums, places, higher + tf.math.log(total))
        return step + 1, higher, total, mixed, all_mixed, log_sums

    ones = tf.ones((_WALKS, shape.groups, rows, 1))
    mixed = tf.zeros((_WALKS, shape.groups, rows, shape.width))
    lists = [_list(shape.blocks + 1, (shape.groups, rows, n)) for n in (shape.width, 1)]
    *_, all_mixed, log_sums = _loop(pairs.steps, body, tf.zeros_like(ones), ones, mixed, *lists)
    return tf.cast(all_mixed.stack()[:-1], query.dtype), log_sums.stack()[:-1]


def _backward(query, key, value, mixed, log_sums, upstream, shape, pairs, scores):
    """Returns the gradients by query, key and value, from that by the mixed values."""
    # The part of a score's gradient that is the same for all keys of a query.
    shared = tf.cast(upstream, tf.float32) * tf.cast(mixed, tf.float32)
    shared = tf.reduce_sum(shared, axis=-1, keepdims=True)

    def body(step, d_query, d_key, d_value):
        queries, keys, ended = pairs(step)
        q, k, d = tf.gather(query, queries), tf.gather(key, keys), tf.gather(upstream, queries)
        score, slope = scores(q, k, queries, keys, ended)
        weights = tf.exp(score - tf.gather(log_sums, queries))
        by_weights = tf.cast(tf.matmul(d, tf.gather(value, keys), transpose_b=True), tf.float32)
        by_scores = weights * (by_weights - tf.gather(shared, queries)) * slope
        by_scores, weights = (tf.cast(x, query.dtype) for x in (by_scores, weights))
        return (
            step + 1,
            _added(d_query, queries, tf.matmul(by_scores, k)),
            _added(d_key, keys, tf.matmul(by_scores, q, transpose_a=True)),
            _added(d_value, keys, tf.matmul(weights, d, transpose_a=True)),
        )

    lists = []
    for x in (query, key, value):
        zeros = tf.zeros((shape.blocks, *x.shape[1:]))
        lists.append(_list(shape.blocks, x.shape[1:]).unstack(zeros))
    _, *sums = _loop(pairs.steps, body, *lists)
    return [tf.cast(x.stack(), query.dtype) for x in sums]


def _loop(steps, body, *start):
    # One turn at a time: TensorFlow would begin several and hold the scores of each.
    return tf.while_loop(lambda step, *_: step < steps, body, (0, *start), parallel_iterations=1)


# Lists, and not tensors: without XLA a tensor is copied as a whole for each block that is written.
# They are float32: in bfloat16 XLA would convert all of it, there and back, for each block.
def _list(size, shape) -> tf.TensorArray:
    return tf.TensorArray(tf.float32, size, clear_after_read=False, element_shape=shape)


def _written(blocks: tf.TensorArray, places: tf.Tensor, values: tf.Tensor) -> tf.TensorArray:
    for walk in range(_WALKS):
        blocks = blocks.write(places[walk], values[walk])
    return blocks


def _added(blocks: tf.TensorArray, places: tf.Tensor, values: tf.Tensor) -> tf.TensorArray:
    # Two walks may meet the same block of keys in one step.
    values = tf.cast(values, tf.float32)
    for walk in range(_WALKS):
        blocks = blocks.write(places[walk], blocks.read(places[walk]) + values[walk])
    return blocks
