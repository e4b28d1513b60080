"""Rows side by side through a Keras network with caches: their sources at once, then a token of
each at a time.

All is float32, as in an exported file. Shapes: B rows, S tokens of the source part, U of the target
part, T = S + U, G key-value heads, K width of a head, V vocabulary.
"""

from typing import Any, Protocol

import keras
import tensorflow as tf

from tfscale.models.attention import MASKED
from tfscale.models.cached import cached_dense, cached_logits, cached_norm, variable
from tfscale.models.encoder_decoder import EncoderDecoder
from tfscale.models.transformer import TransformerLM, scaled
from tfscale.tasks.writing_task import WritingTask

State = dict[str, tf.Tensor]
"""Tensors whose first axis is B."""


class BatchDecoder(Protocol):
    """What writes texts: it reads sources, and gives the logits of the token after each."""

    def begin(self, ids: tf.Tensor, starts: tf.Tensor) -> State:
        """Reads the sources of rows (B, T) int32 whose targets follow the places (B,); B is
        known."""
        ...

    def step(self, tokens: tf.Tensor, state: State, turn: tf.Tensor) -> tuple[tf.Tensor, State]:
        """Reads tokens (B,) int32, the end token first: logits (B, V) and the new state; `turn`
        counts from 0."""
        ...


def batch_decoder(network: keras.Model, task: WritingTask) -> BatchDecoder:
    """The decoder of a `PrefixLM` or an `EncoderDecoder`."""
    if isinstance(network, EncoderDecoder):
        return _OfTwoStacks(network)
    return _OfPrefix(network.base, task)


class _OfTwoStacks:
    def __init__(self, network: EncoderDecoder):
        self.network = network

    def begin(self, ids: tf.Tensor, starts: tf.Tensor) -> State:
        cache = {
            name: tf.zeros(shape) for name, shape in self.network.cache_spec(ids.shape[0]).items()
        }
        return cache | self.network.encode_cached(ids[:, : self.network.source_length])

    def step(self, tokens: tf.Tensor, state: State, turn: tf.Tensor) -> tuple[tf.Tensor, State]:
        network = self.network
        cache = {name: state[name] for name in network.cache_spec()}
        logits, cache = network.cached_step(
            tokens[:, None],
            cache,
            state,
            input_pos=turn[None],
            mask=_past(turn, network.target_length),
        )
        return logits[:, 0], {**state, **cache}


class _OfPrefix:
    """The sources end at the same place of the caches, so that all rows write to one place.

    Learned positions are counted from the beginning of each row; rotary ones tell distances, which
    are the same.
    """

    def __init__(self, base: TransformerLM, task: WritingTask):
        self.base, self.task = base, task

    def begin(self, ids: tf.Tensor, starts: tf.Tensor) -> State:
        rows, length, c = ids.shape[0], self.task.source_length, self.base.config
        context = self.task.sequence_length
        # Row by row, the place of what stands in each of the S places of the cache.
        places = tf.range(length)[None] - (length - 1 - starts[:, None])
        there = tf.pad(tf.cast(places >= 0, tf.float32), [[0, 0], [0, context - length]])
        hidden = tf.reshape(1.0 - there, (rows, 1, 1, context)) * MASKED
        places = tf.maximum(places, 0)
        x = self._embedded(tf.gather(ids, places, axis=1, batch_dims=1), places)
        state = {"hidden": hidden, "starts": starts}
        for i, block in enumerate(self.base.blocks):
            empty = tf.zeros((rows, context, c.kv_heads, c.head_width))
            x, state[f"k_{i}"], state[f"v_{i}"] = block.cached(
                x, empty, empty, tf.range(length), hidden
            )
        return state

    def step(self, tokens: tf.Tensor, state: State, turn: tf.Tensor) -> tuple[tf.Tensor, State]:
        base, state = self.base, dict(state)
        # The first token is read again: with the source its logits were not computed.
        place, context = self.task.source_length - 1 + turn, self.task.sequence_length
        x = self._embedded(tokens[:, None], state["starts"][:, None] + turn)
        # Beyond the source nothing is there that `hidden` hides, but what has been written.
        written = tf.cast(tf.range(context) >= self.task.source_length, tf.float32)
        mask = state["hidden"] * (1.0 - written) + _past(place, context)
        for i, block in enumerate(base.blocks):
            x, state[f"k_{i}"], state[f"v_{i}"] = block.cached(
                x, state[f"k_{i}"], state[f"v_{i}"], place[None], mask
            )
        x = tf.reshape(cached_norm(base.final_norm, x), (tokens.shape[0], base.config.hidden_dim))
        return cached_logits(base.token_embedding, base.narrow, x), state

    def _embedded(self, tokens: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        base: Any = self.base
        x = tf.gather(variable(base.token_embedding.embeddings), tokens)
        x = scaled(x if base.widen is None else cached_dense(base.widen, x), base.config)
        if base.position_embedding is None:
            return x
        return x + tf.gather(variable(base.position_embedding.embeddings), positions)


def _past(place: tf.Tensor, context: int) -> tf.Tensor:
    """(1, 1, 1, context) float32: 0 up to a place, very negative after it."""
    return tf.reshape(tf.cast(tf.range(context) > place, tf.float32) * MASKED, (1, 1, 1, context))
