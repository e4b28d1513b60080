"""Texts by a Keras network: sources are read once, then all rows of a batch are written side by
side."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfscale.tasks.beams import beam_search
from tfscale.tasks.decoding import State, batch_decoder
from tfscale.tasks.writing_task import WritingTask

_BATCH = 32


class GreedyWriter:
    """Writes the likeliest token after the other, in one compiled loop that ends when all rows
    have.

    Args:
        network: a `PrefixLM` or an `EncoderDecoder`.
        task: the task, which makes its rows.

    Example:
        GreedyWriter(network, task)(ids, starts)   # [[12, 7], [4], ...]
    """

    def __init__(self, network: keras.Model, task: WritingTask):
        self.task, self._decoder = task, batch_decoder(network, task)
        self._loop = tf.function(self._write)

    def __call__(self, ids: np.ndarray, starts: np.ndarray) -> list[list[int]]:
        """Tokens of each row without the end token: rows (N, T) with empty target parts, their
        `Row.start` (N,)."""
        end, written = self.task.tokenizer.end_id, []
        # One row is not filled up to a batch.
        size = _BATCH if len(ids) > 1 else 1
        for at in range(0, len(ids), size):
            rows, places = ids[at : at + size], np.asarray(starts[at : at + size], np.int32)
            missing = size - len(rows)
            full = (
                np.pad(rows, [(0, missing), (0, 0)], "edge"),
                np.pad(places, (0, missing), "edge"),
            )
            for row in self._loop(*full).numpy()[: len(rows)].tolist():
                written.append(row[: row.index(end)] if end in row else row)
        return written

    def _write(self, ids: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        rows, end, length = ids.shape[0], self.task.tokenizer.end_id, self.task.target_length

        def step(turn, last, tokens, ended, state):
            logits, state = self._decoder.step(last, state, turn)
            found = tf.where(ended, end, tf.argmax(logits, axis=-1, output_type=tf.int32))
            tokens = tf.tensor_scatter_nd_update(
                tokens, tf.stack([tf.range(rows), tf.fill((rows,), turn)], 1), found
            )
            return turn + 1, found, tokens, ended | (found == end), state

        begun = (
            tf.constant(0),
            tf.fill((rows,), end),
            tf.fill((rows, length), end),
            tf.zeros((rows,), tf.bool),
            self._decoder.begin(ids, starts),
        )
        goes_on = lambda turn, last, tokens, ended, state: (turn < length) & ~tf.reduce_all(ended)  # noqa: E731
        return tf.while_loop(goes_on, step, begun)[2]


class BeamWriter:
    """Writes by `beam_search`: one row after the other, its hypotheses side by side.

    Args:
        network: a `PrefixLM` or an `EncoderDecoder`.
        task: the task, which makes its rows.

    Example:
        BeamWriter(network, task)(ids, starts, beams=4)   # [[12, 7], [4], ...]
    """

    def __init__(self, network: keras.Model, task: WritingTask):
        self.task, decoder = task, batch_decoder(network, task)
        self._begin = tf.function(decoder.begin)

        def follow(tokens: tf.Tensor, parents: tf.Tensor, state: State, turn: tf.Tensor) -> Any:
            return decoder.step(
                tokens, {name: tf.gather(value, parents) for name, value in state.items()}, turn
            )

        self._follow = tf.function(follow)

    def __call__(self, ids: np.ndarray, starts: np.ndarray, beams: int) -> list[list[int]]:
        """Tokens of each row without the end token: rows (N, T) with empty target parts, their
        `Row.start` (N,)."""
        length, end = self.task.target_length, self.task.tokenizer.end_id
        steps = (self._step(row, int(start), beams) for row, start in zip(ids, starts, strict=True))
        return [beam_search(step, beams, length, end) for step in steps]

    def _step(self, row: np.ndarray, start: int, beams: int) -> Any:
        """The function that `beam_search` asks for the hypotheses of a row."""
        state, turn = (
            self._begin(np.repeat(row[None], beams, axis=0), np.full(beams, start, np.int32)),
            0,
        )

        def step(tokens: Sequence[int], parents: Sequence[int]) -> np.ndarray:
            nonlocal state, turn
            # Fewer hypotheses than beams are filled up, so that the function is compiled once.
            full = [
                np.pad(np.asarray(x, np.int32), (0, beams - len(tokens)), "edge")
                for x in (tokens, parents)
            ]
            logits, state = self._follow(*full, state, tf.constant(turn))
            turn += 1
            return logits.numpy()[: len(tokens)]

        return step
