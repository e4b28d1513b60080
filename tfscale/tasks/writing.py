"""Texts by a Keras network: sources are read once, then all rows of a batch are written side by
side.

Shapes: N rows, B rows of a batch, T tokens of a row, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfscale.tasks.beams import beam_search
from tfscale.tasks.writing_task import WritingTask

_BATCH = 32
State = dict[str, tf.Tensor]
"""Tensors whose first axis is B."""


class WritingNetwork(Protocol):
    """A network that writes a text for a text: a `PrefixLM` or an `EncoderDecoder`."""

    def begin(self, ids: tf.Tensor, starts: tf.Tensor, source_length: int) -> State:
        """Reads sources; see `PrefixLM.begin`."""
        ...

    def step(
        self, tokens: tf.Tensor, state: State, turn: tf.Tensor, source_length: int
    ) -> tuple[tf.Tensor, State]:
        """Reads a token of each row; see `PrefixLM.step`."""
        ...


class GreedyWriter:
    """Writes the likeliest token after the other, in one compiled loop that ends when all rows
    have.

    Args:
        network: what writes.
        task: the task, which makes its rows.

    Example:
        GreedyWriter(network, task)(ids, starts)   # [[12, 7], [4], ...]
    """

    def __init__(self, network: WritingNetwork, task: WritingTask):
        self.network, self.task = network, task
        self._loop = tf.function(self._write)

    def __call__(self, ids: np.ndarray, starts: np.ndarray) -> list[list[int]]:
        """Returns the tokens of each row without the one that ended it.

        Args:
            ids: rows (N, T) with empty target parts.
            starts: their `Encoded.start` (N,).
        """
        written = []
        # One row is not filled up to a batch.
        size = _BATCH if len(ids) > 1 else 1
        for at in range(0, len(ids), size):
            rows, places = ids[at : at + size], np.asarray(starts[at : at + size], np.int32)
            missing = size - len(rows)
            full_rows = np.pad(rows, [(0, missing), (0, 0)], "edge")
            full_places = np.pad(places, (0, missing), "edge")
            for row in self._loop(full_rows, full_places).numpy()[: len(rows)].tolist():
                written.append(self.task.before_end(row))
        return written

    def _write(self, ids: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        rows, end, length = ids.shape[0], self.task.tokenizer.end_id, self.task.target_length
        source_length, stops = self.task.source_length, tf.constant(self.task.tokenizer.stop_ids)

        def step(turn, last, tokens, ended, state):
            logits, state = self.network.step(last, state, turn, source_length)
            # A row that has ended is filled up with end tokens.
            likeliest = tf.argmax(logits, axis=-1, output_type=tf.int32)
            likeliest = tf.where(ended, end, likeliest)
            places = tf.stack([tf.range(rows), tf.fill((rows,), turn)], 1)
            tokens = tf.tensor_scatter_nd_update(tokens, places, likeliest)
            ended |= tf.reduce_any(likeliest[:, None] == stops, axis=1)
            return turn + 1, likeliest, tokens, ended, state

        def goes_on(turn, last, tokens, ended, state):
            return (turn < length) & ~tf.reduce_all(ended)

        begun = (
            tf.constant(0),
            tf.fill((rows,), end),
            tf.fill((rows, length), end),
            tf.zeros((rows,), tf.bool),
            self.network.begin(ids, starts, source_length),
        )
        return tf.while_loop(goes_on, step, begun)[2]


class BeamWriter:
    """Writes by `beam_search`: one row after the other, its hypotheses side by side.

    Args:
        network: what writes.
        task: the task, which makes its rows.

    Example:
        BeamWriter(network, task)(ids, starts, beams=4)   # [[12, 7], [4], ...]
    """

    def __init__(self, network: WritingNetwork, task: WritingTask):
        self.task, source_length = task, task.source_length

        def begin(ids: tf.Tensor, starts: tf.Tensor) -> State:
            return network.begin(ids, starts, source_length)

        def follow(
            tokens: tf.Tensor, parents: tf.Tensor, state: State, turn: tf.Tensor
        ) -> tuple[tf.Tensor, State]:
            state = {name: tf.gather(value, parents) for name, value in state.items()}
            return network.step(tokens, state, turn, source_length)

        self._begin, self._follow = tf.function(begin), tf.function(follow)

    def __call__(self, ids: np.ndarray, starts: np.ndarray, beams: int) -> list[list[int]]:
        """Returns the tokens of each row without the one that ended it.

        Args:
            ids: rows (N, T) with empty target parts.
            starts: their `Encoded.start` (N,).
            beams: most hypotheses that are kept.
        """
        length, ends = self.task.target_length, self.task.tokenizer.stop_ids
        steps = (self._step(row, int(start), beams) for row, start in zip(ids, starts, strict=True))
        return [beam_search(step, beams, length, ends) for step in steps]

    def _step(
        self, row: np.ndarray, start: int, beams: int
    ) -> Callable[[Sequence[int], Sequence[int]], np.ndarray]:
        """Returns the function that `beam_search` asks for the hypotheses of a row."""
        state = self._begin(np.repeat(row[None], beams, axis=0), np.full(beams, start, np.int32))
        turn = 0

        def step(tokens: Sequence[int], parents: Sequence[int]) -> np.ndarray:
            nonlocal state, turn
            # Fewer hypotheses than beams are filled up, so that the function is compiled once.
            full = [
                np.pad(np.asarray(numbers, np.int32), (0, beams - len(tokens)), "edge")
                for numbers in (tokens, parents)
            ]
            logits, state = self._follow(*full, state, tf.constant(turn))
            turn += 1
            return logits.numpy()[: len(tokens)]

        return step
