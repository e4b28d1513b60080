"""Texts by a Keras network: a source is encoded once, then all rows of a batch are written side by side."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfscale.models.encoder_decoder import EncoderDecoder
from tfscale.tasks.beams import beam_search
from tfscale.tasks.sequences import SequenceEncoder

_BATCH = 32


class GreedyWriter:
    """Writes the likeliest token after the other, in one compiled loop that ends when all rows have.

    Each turn computes the hidden states of the whole target part (of a prefix LM of the whole row), and the logits of
    one token of each row.

    Args:
        network: a `PrefixLM` or an `EncoderDecoder`.
        encoder: of its rows.

    Example:
        GreedyWriter(network, encoder)(ids, starts)   # [[12, 7], [4], ...]
    """

    def __init__(self, network: keras.Model, encoder: SequenceEncoder):
        self.network, self.encoder = network, encoder
        specs = [tf.TensorSpec((_BATCH, encoder.sequence_length), tf.int32), tf.TensorSpec((_BATCH,), tf.int32)]
        self._loop = tf.function(self._write, input_signature=specs)

    def __call__(self, ids: np.ndarray, starts: np.ndarray) -> list[list[int]]:
        """Tokens of each row without the end token: rows (N, T) with empty target parts, their `Row.start` (N,)."""
        end, written = self.encoder.tokenizer.end_id, []
        for at in range(0, len(ids), _BATCH):
            rows, places = ids[at : at + _BATCH], starts[at : at + _BATCH]
            missing = _BATCH - len(rows)
            tokens = self._loop(np.pad(rows, [(0, missing), (0, 0)], "edge"), np.pad(places, (0, missing), "edge"))
            for row in tokens.numpy()[: len(rows)].tolist():
                written.append(row[: row.index(end)] if end in row else row)
        return written

    def _write(self, ids: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        encoder, end = self.encoder, self.encoder.tokenizer.end_id
        read = self._reader(ids)
        rows, length = tf.range(_BATCH), encoder.target_length

        def step(turn, tokens, ended):
            # The target part of a row, with what has been written so far.
            places = starts[:, None] + 1 + tf.range(length - 1)[None]
            filled = tf.tensor_scatter_nd_update(
                ids, tf.stack([tf.repeat(rows, length - 1), tf.reshape(places, (-1,))], 1),
                tf.reshape(tokens[:, : length - 1], (-1,)),
            )  # fmt: skip
            hidden = tf.gather(read(filled), starts + turn - encoder.first_logit, axis=1, batch_dims=1)
            found = tf.argmax(self.network.project(hidden), axis=-1, output_type=tf.int32)
            found = tf.where(ended, end, found)
            tokens = tf.tensor_scatter_nd_update(tokens, tf.stack([rows, tf.fill((_BATCH,), turn)], 1), found)
            return turn + 1, tokens, ended | (found == end)

        start = (tf.constant(0), tf.fill((_BATCH, length), end), tf.zeros((_BATCH,), tf.bool))
        return tf.while_loop(lambda turn, _, ended: (turn < length) & ~tf.reduce_all(ended), step, start)[1]

    def _reader(self, ids: tf.Tensor) -> Any:
        """A function from rows to the hidden states of what has logits."""
        network = self.network
        if not isinstance(network, EncoderDecoder):
            return network.hidden_states
        memory, visible = network.encode(ids[:, : network.source_length])
        return lambda rows: network.decode(rows[:, network.source_length :], memory, visible)


class BeamWriter:
    """Writes by `beam_search`: one row after the other, its hypotheses side by side.

    Args:
        network: a `PrefixLM` or an `EncoderDecoder`.
        encoder: of its rows.

    Example:
        BeamWriter(network, encoder)(ids, starts, beams=4)   # [[12, 7], [4], ...]
    """

    def __init__(self, network: keras.Model, encoder: SequenceEncoder):
        self.network, self.encoder = network, encoder
        self._begin = tf.function(lambda row: network.encode(row[:, : encoder.first_logit]), reduce_retracing=True)
        self._follow = tf.function(self._next_logits, reduce_retracing=True)

    def __call__(self, ids: np.ndarray, starts: np.ndarray, beams: int) -> list[list[int]]:
        """Tokens of each row without the end token: rows (N, T) with empty target parts, their `Row.start` (N,)."""
        length, end = self.encoder.target_length, self.encoder.tokenizer.end_id
        steps = (self._step(row, int(start), beams) for row, start in zip(ids, starts, strict=True))
        return [beam_search(step, beams, length, end) for step in steps]

    def _next_logits(self, rows: tf.Tensor, place: tf.Tensor, read: Sequence[tf.Tensor]) -> tf.Tensor:
        network, split = self.network, self.encoder.first_logit
        hidden = network.decode(rows[:, split:], *read) if read else network.hidden_states(rows)
        return network.project(hidden[:, place - split])

    def _step(self, row: np.ndarray, place: int, beams: int) -> Any:
        """The function that `beam_search` asks for the hypotheses of a row."""
        rows, read = np.repeat(row[None], beams, axis=0), []
        if isinstance(self.network, EncoderDecoder):
            read = [tf.repeat(part, beams, axis=0) for part in self._begin(row[None])]

        def step(tokens: Sequence[int], parents: Sequence[int]) -> np.ndarray:
            nonlocal place
            count = len(parents)
            rows[:count] = rows[list(parents)]
            rows[:count, place] = tokens
            place += 1
            return self._follow(rows, tf.constant(place - 1), read).numpy()[:count]

        return step
