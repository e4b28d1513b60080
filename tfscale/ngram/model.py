"""A back-off n-gram model: scores, and the distribution of the next token. NumPy only.

The n-grams of an order are sorted by the number of their context among those of the order below,
and their last token; to find one is a binary search, for all tokens of a text at once.

Shapes: V vocabulary, N order, U n-grams of an order, M tokens.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import numpy as np

from tfscale.errors import DataError
from tfscale.ngram.count import token_bits
from tfscale.ngram.levels import Level, rounded
from tfscale.ngram.storage import read_model, to_arrays
from tfscale.text.score import Score

_CHUNK = 1 << 18
"""Tokens that are scored at once by each thread."""


class NGramModel:
    """Log-probabilities of tokens given those before them in their document.

    The end token's unigram is that of the end of a document, its back-off that of the beginning of
    one.

    Args:
        levels: orders 1 to N; order 1 has every token of the vocabulary.
        vocabulary_size: V.
        end_id: the token after each document.
    """

    def __init__(self, levels: Sequence[Level], vocabulary_size: int, end_id: int):
        self.levels = list(levels)
        self.vocabulary_size = vocabulary_size
        self.end_id = end_id
        self._bits = np.uint64(token_bits(vocabulary_size))

    @property
    def order(self) -> int:
        """Tokens N of the longest n-grams."""
        return len(self.levels)

    @property
    def sizes(self) -> list[int]:
        """Numbers of n-grams by order."""
        return [len(level.keys) for level in self.levels]

    def log_probabilities(self, ids: Sequence[int] | np.ndarray, threads: int = 0) -> np.ndarray:
        """Returns the natural log-probability of each token of a stream: (M,) -> (M,) float32.

        Args:
            ids: documents with an end token after each; before the first one stands an end token
                too.
            threads: how many parts of the stream are scored at the same time; 0 takes one per core.

        Raises:
            DataError: an id that is not in the vocabulary.
        """
        ids = np.asarray(ids, np.int64)
        if ids.size and not 0 <= ids.min() <= ids.max() < self.vocabulary_size:
            raise DataError(
                f"token ids must be 0 to {self.vocabulary_size - 1}; received {ids.min()} to"
                f" {ids.max()}"
            )
        stream = np.concatenate([[self.end_id], ids])
        result = np.empty(len(ids), np.float32)

        def score(start: int) -> None:
            # A part begins with the tokens that its first n-gram needs.
            first = max(0, start - self.order + 1)
            part = self._score(stream[first : start + _CHUNK + 1])
            result[start : start + _CHUNK] = part[start - first :]

        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            list(pool.map(score, range(0, len(ids), _CHUNK)))
        return result

    def _score(self, stream: np.ndarray) -> np.ndarray:
        """Returns log-probabilities of every token but the first, whose context may be cut."""
        tokens, previous = stream[1:], stream[:-1]
        result = self.levels[0].log_probabilities[tokens].astype(np.float64)
        # Numbers of the n-grams of this order that end before each token, and at it; -1 where there
        # is none.
        before, at = previous, tokens
        for k, level in enumerate(self.levels[1:], 2):
            there = np.flatnonzero(before >= 0)
            result[there] += self.levels[k - 2].log_backoffs[before[there]]
            numbers = self._find(level, before[there], tokens[there])
            hits = there[numbers >= 0]
            result[hits] = level.log_probabilities[numbers[numbers >= 0]]
            at = np.full(len(tokens), -1)
            at[there] = numbers
            # An n-gram that ends at the token before is a context, but for one that ends its
            # document.
            before = np.where(previous == self.end_id, -1, np.concatenate([[-1], at[:-1]]))
        return result.astype(np.float32)

    def _find(self, level: Level, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        if not len(level.keys):
            return np.full(len(tokens), -1)
        keys = (contexts.astype(np.uint64) << self._bits) | tokens.astype(np.uint64)
        places = np.minimum(np.searchsorted(level.keys, keys), len(level.keys) - 1)
        return np.where(level.keys[places] == keys, places, -1)

    def score(
        self,
        ids: Sequence[int] | np.ndarray,
        utf8_bytes: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Score:
        """Returns the likelihood of a stream of tokens, each given those before it in its document.

        Raises:
            DataError: no token, or one that is not in the vocabulary.
        """
        nll = -float(self.log_probabilities(ids).astype(np.float64).sum())
        if progress is not None:
            progress(len(ids), len(ids))
        return Score(nll, len(ids), utf8_bytes)

    def next_log_probabilities(self, context: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns natural log-probabilities (V,) float32 of the token after `context`.

        The last N - 1 tokens of it matter.

        Example:
            model.next_log_probabilities([model.end_id])   # of the first token of a document
        """
        context = [int(token) for token in context[-(self.order - 1) :]] if self.order > 1 else []
        if self.end_id in context:
            context = context[len(context) - 1 - context[::-1].index(self.end_id) :]
        result = self.levels[0].log_probabilities.astype(np.float64)
        shift, mask = self._bits, (np.uint64(1) << self._bits) - np.uint64(1)
        for length in range(1, len(context) + 1):
            number = self._number(context[-length:])
            if number < 0:
                break
            result += self.levels[length - 1].log_backoffs[number]
            level = self.levels[length]
            ends = np.array([number, number + 1], np.uint64) << shift
            first, last = np.searchsorted(level.keys, ends)
            result[(level.keys[first:last] & mask).astype(np.int64)] = level.log_probabilities[
                first:last
            ]
        return result.astype(np.float32)

    def _number(self, tokens: Sequence[int]) -> int:
        number = int(tokens[0])
        for level, token in zip(self.levels[1:], tokens[1:], strict=False):
            number = int(self._find(level, np.array([number]), np.array([token]))[0])
            if number < 0:
                return -1
        return number

    def quantized(self) -> "NGramModel":
        """Returns the model with at most 256 probabilities and back-off weights per order.

        Each is the mean of those in a bin; the bins are equally wide in the logarithm.
        """
        return NGramModel(
            [
                Level(x.keys, rounded(x.log_probabilities), rounded(x.log_backoffs))
                for x in self.levels
            ],
            self.vocabulary_size,
            self.end_id,
        )

    def save(self, file: IO[bytes]) -> None:
        """Writes the model; see `tfscale.ngram.storage.to_arrays`.

        What has 256 different values or fewer takes a byte; see `quantized`.
        """
        arrays = to_arrays(self.levels, self.vocabulary_size, self.end_id)
        np.savez(file, **arrays)  # type: ignore[arg-type]  # None is named `allow_pickle`.

    @classmethod
    def load(cls, path: str) -> "NGramModel":
        """Reads a file that `save` wrote.

        Raises:
            ExportError: the file is missing, damaged or not an n-gram model.
        """
        return cls(*read_model(path))
