"""A back-off n-gram model: its file, its scores, and the distribution of the next token. NumPy
only.

The n-grams of an order are sorted by the number of their context among those of the order below,
and their last token; to find one is a binary search, for all tokens of a text at once.

Shapes: V vocabulary, N order, U n-grams of an order, M tokens.
"""

import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from tfscale.errors import DataError, ExportError, PromptError, reason
from tfscale.files.fields import from_fields
from tfscale.files.json_text import parse_json, to_json
from tfscale.files.npz import read_npz
from tfscale.ngram.count import token_bits
from tfscale.text.score import Score

FORMAT_VERSION = 1
CODES = 256
"""Values that probabilities and back-offs of an order are rounded to in a quantized file."""
_NEGLIGIBLE = -30.0
_CHUNK = 1 << 18
"""Tokens that are scored at once by each thread."""


@dataclass(frozen=True)
class Level:
    """The n-grams of one order: keys (U,) uint64, and natural logarithms of probability and
    back-off weight (U,)."""

    keys: np.ndarray
    log_probabilities: np.ndarray
    log_backoffs: np.ndarray


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
        """N, tokens of the longest n-grams."""
        return len(self.levels)

    @property
    def sizes(self) -> list[int]:
        """Numbers of n-grams by order."""
        return [len(level.keys) for level in self.levels]

    def log_probabilities(self, ids: Sequence[int] | np.ndarray, threads: int = 0) -> np.ndarray:
        """Natural log-probability of each token of a stream: (M,) -> (M,) float32.

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
        found = np.empty(len(ids), np.float32)

        def score(start: int) -> None:
            # A part begins with the tokens that its first n-gram needs.
            first = max(0, start - self.order + 1)
            part = self._score(stream[first : start + _CHUNK + 1])
            found[start : start + _CHUNK] = part[start - first :]

        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            list(pool.map(score, range(0, len(ids), _CHUNK)))
        return found

    def _score(self, stream: np.ndarray) -> np.ndarray:
        """Of every token but the first, whose context may be cut."""
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
        """The likelihood of a stream of tokens, each given those before it in its document.

        Raises:
            DataError: no token, or one that is not in the vocabulary.
        """
        nll = -float(self.log_probabilities(ids).astype(np.float64).sum())
        if progress is not None:
            progress(len(ids), len(ids))
        return Score(nll, len(ids), utf8_bytes)

    def next_log_probabilities(self, context: Sequence[int] | np.ndarray) -> np.ndarray:
        """Natural log-probabilities (V,) float32 of the token after `context`, of which the last N
        - 1 matter.

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
        """The model with at most 256 different probabilities and back-off weights per order.

        Each is the mean of those in a bin; the bins are equally wide in the logarithm.
        """
        return NGramModel(
            [
                Level(x.keys, _rounded(x.log_probabilities), _rounded(x.log_backoffs))
                for x in self.levels
            ],
            self.vocabulary_size,
            self.end_id,
        )

    def save(self, file: IO[bytes]) -> None:
        """Writes the model: per order the number of n-grams of each context, their last tokens, and
        two codebooks.

        What has 256 different values or fewer takes a byte; see `quantized`.
        """
        mask = (np.uint64(1) << self._bits) - np.uint64(1)
        arrays: dict[str, Any] = {}
        for k, level in enumerate(self.levels, 1):
            if k > 1:
                per_context = np.bincount(
                    (level.keys >> self._bits).astype(np.int64), minlength=self.sizes[k - 2]
                )
                arrays[f"children_{k}"] = _smallest(per_context)
                arrays[f"tokens_{k}"] = _smallest(level.keys & mask)
            named = [("probabilities", level.log_probabilities)]
            named += [("backoffs", level.log_backoffs)] if k < self.order else []
            for name, values in named:
                book, codes = np.unique(values, return_inverse=True)
                if len(book) <= CODES:
                    arrays |= {
                        f"{name}_{k}_values": book,
                        f"{name}_{k}_codes": codes.astype(np.uint8),
                    }
                else:
                    arrays[f"{name}_{k}"] = values
        described = {
            "format_version": FORMAT_VERSION,
            "order": self.order,
            "vocabulary_size": self.vocabulary_size,
            "end_id": self.end_id,
        }
        np.savez(file, description=np.frombuffer(to_json(described).encode(), np.uint8), **arrays)

    @classmethod
    def load(cls, path: str) -> "NGramModel":
        """Reads a file that `save` wrote.

        Raises:
            ExportError: the file is missing, damaged or not an n-gram model.
        """
        try:
            # Opened here: NumPy leaves a file open that it finds damaged.
            with open(path, "rb") as file:
                arrays = read_npz(file)
            described = parse_json(arrays["description"].tobytes())
            version = described.get("format_version") if isinstance(described, dict) else None
            if version != FORMAT_VERSION:
                raise ExportError(
                    f"{path} has format_version {version}; this version of tfscale reads"
                    f" {FORMAT_VERSION}"
                )
            found = from_fields(_Description, described, "its description")
            size, order = found.vocabulary_size, found.order
            _require(order >= 1 and 0 <= found.end_id < size, "its order, vocabulary and end token")
            bits = np.uint64(token_bits(size))
            probabilities = _values(arrays, "probabilities", 1)
            _require(len(probabilities) == size <= 1 << 32, "its vocabulary")
            keys = np.arange(size, dtype=np.uint64)
            levels = []
            for k in range(1, order + 1):
                if k > 1:
                    keys = _keys(arrays, k, len(keys), size, bits)
                    probabilities = _values(arrays, "probabilities", k)
                backoffs = (
                    _values(arrays, "backoffs", k) if k < order else np.zeros(len(keys), np.float32)
                )
                _require(len(probabilities) == len(backoffs) == len(keys), f"the {k}-grams")
                levels.append(Level(keys, probabilities, backoffs))
        except ExportError:
            raise
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            NotImplementedError,
            RuntimeError,
            zipfile.BadZipFile,
            DataError,
        ) as error:
            raise ExportError(
                f"{path} is not an n-gram model, or is damaged ({reason(error)})"
            ) from error
        return cls(levels, size, found.end_id)


class NGramDecoder:
    """An n-gram model as a `tfscale.inference.generation.Decoder`.

    Args:
        model: the model; the end token stands before every document that it has counted.
        start_id: the tokenizer's start token, which is read as the end token.

    Example:
        generate(NGramDecoder(model), tokenizer, "def ", max_tokens=40).text
    """

    context_length: int | None = None

    def __init__(self, model: NGramModel, start_id: int | None = None):
        self.model, self._start_id = model, start_id
        self.vocabulary_size = model.vocabulary_size
        self._context: list[int] = []

    def reset(self) -> None:
        """Forgets all tokens."""
        self._context = []

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Reads `ids` (one or more); returns log-probabilities (V,) float32 after the last one."""
        if len(ids) == 0:
            raise PromptError("no token to read; give one or more")
        ids = [self.model.end_id if i == self._start_id else int(i) for i in ids]
        self._context = [*self._context, *ids][-max(1, self.model.order - 1) :]
        return self.model.next_log_probabilities(self._context)

    def mark(self) -> list[int]:
        """The place reached, for `back_to`."""
        return self._context

    def back_to(self, mark: list[int]) -> None:
        """Goes back to a place."""
        self._context = mark


def _smallest(values: np.ndarray) -> np.ndarray:
    """Whole numbers in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max())) if values.size else np.uint8)


@dataclass(frozen=True)
class _Description:
    """What a file says of itself."""

    format_version: int
    order: int
    vocabulary_size: int
    end_id: int


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"{what} cannot be")


def _keys(
    arrays: dict[str, np.ndarray], k: int, contexts: int, vocabulary_size: int, bits: np.uint64
) -> np.ndarray:
    """The keys (U,) of order k > 1: the number of each n-gram's context, and its last token."""
    children, tokens = arrays[f"children_{k}"], arrays[f"tokens_{k}"]
    for values in (children, tokens):
        _require(values.ndim == 1 and values.dtype.kind == "u", f"the {k}-grams")
    # Compared one by one first: their sum could overflow.
    _require(
        len(children) == contexts and (not contexts or children.max() <= len(tokens)),
        f"the {k}-grams",
    )
    _require(int(children.sum(dtype=np.uint64)) == len(tokens), f"the {k}-grams")
    _require(not len(tokens) or tokens.max() < vocabulary_size, f"the tokens of {k}-grams")
    keys = (np.repeat(np.arange(contexts, dtype=np.uint64), children) << bits) | tokens.astype(
        np.uint64
    )
    _require(bool((keys[1:] > keys[:-1]).all()), f"the order of the {k}-grams")
    return keys


def _values(arrays: dict[str, np.ndarray], name: str, k: int) -> np.ndarray:
    """Logarithms (U,) of an order, as they are or by a codebook."""
    values = arrays.get(f"{name}_{k}")
    if values is None:
        book, codes = arrays[f"{name}_{k}_values"], arrays[f"{name}_{k}_codes"]
        _require(
            codes.dtype.kind == "u" and (not codes.size or codes.max() < len(book)),
            f"the codes of {k}-grams",
        )
        values = book[codes]
    _require(
        values.ndim == 1 and values.dtype.kind == "f" and not np.isnan(values).any(),
        f"the {name} of {k}-grams",
    )
    return values


def _rounded(values: np.ndarray) -> np.ndarray:
    book, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(book) <= CODES:
        return values
    # Bins of equal width in the logarithm bound the relative error of each probability, also of the
    # few large ones, which weigh most in a sum.
    # Back-off weights of next to nothing have a bin of their own, or they would make the others
    # wide.
    usual = book[book > _NEGLIGIBLE]
    places_in_range = (np.maximum(book, usual[0]) - usual[0]) / (usual[-1] - usual[0]) * (CODES - 1)
    bins = np.where(
        book > _NEGLIGIBLE, 1 + np.minimum(places_in_range.astype(np.int64), CODES - 2), 0
    )
    sums = np.bincount(bins, book.astype(np.float64) * counts, CODES)
    means = sums / np.maximum(np.bincount(bins, counts, CODES), 1)
    return means.astype(np.float32)[bins[places]]
