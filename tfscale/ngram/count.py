"""Counts the n-grams of a token stream in bounded memory.

Runs of a few million tokens are sorted, written to disk and merged.

An n-gram of order k is the number of its first k - 1 tokens among the (k - 1)-grams, shifted, and
its last token: one uint64. So each order is one pass over the tokens, which needs the numbers that
the pass before it gave to its n-grams.

Documents are apart: an n-gram begins in its document, or with the end token of the one before,
which stands for its beginning (the <s> of other programs). So the end token comes first or last in
an n-gram, and nowhere else.

Shapes: M tokens, U n-grams of an order.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from tfscale.errors import DataError
from tfscale.files.scratch import scratch_folder, scratch_writes

NOT_COUNTED = np.uint32(0xFFFFFFFF)
"""Stands for a number: the n-gram that ends at this token would begin in another document."""
RUN_TOKENS = 4_000_000
"""Tokens that are sorted at once by each thread."""
MERGE_ENTRIES = 8_000_000
"""N-grams of all runs that are merged at once."""


@dataclass(frozen=True)
class Counts:
    """The n-grams of one order, sorted, and how often each occurs.

    `keys` (U,) uint64 are context number << bits | last token; of order 1 they are the tokens
    themselves, all of the vocabulary. `counts` (U,) int64.
    """

    keys: np.ndarray
    counts: np.ndarray


def token_bits(vocabulary_size: int) -> int:
    """Bits that hold a token."""
    return max(1, (vocabulary_size - 1).bit_length())


@contextlib.contextmanager
def count_ngrams(
    blocks: Iterable[np.ndarray],
    *,
    order: int,
    vocabulary_size: int,
    end_id: int,
    threads: int = 0,
    note: Callable[[str], None] = lambda text: None,
    beside: str = "",
) -> Iterator[list[Counts]]:
    """Counts the n-grams of orders 1 to `order`.

    The arrays lie in a temporary folder, which is removed when the block ends.

    Args:
        blocks: the stream of tokens in parts, in order; an end token after each document.
        order: the longest n-grams.
        vocabulary_size: ids are below it.
        end_id: the token after each document.
        threads: how many sort at the same time; 0 takes one per core. NumPy sorts without Python's
            lock.
        note: is called with a line about each step that is done.
        beside: a local folder; the arrays lie beside it, or without it in the system's temporary
            folder.

    Yields:
        One `Counts` per order.

    Raises:
        DataError: no token, or one that is not in the vocabulary.
        TfscaleError: the disk is full.

    Example:
        with count_ngrams([tokens], order=3, vocabulary_size=256, end_id=0) as counts:
            model = estimate(counts, vocabulary_size=256, end_id=0)
    """
    with scratch_folder("tfscale-ngram-", beside) as folder:
        path = os.path.join(folder, "tokens")
        tokens = _write_tokens(blocks, path, vocabulary_size, beside)
        note(f"{len(tokens):,} tokens")
        unigrams = sum(
            np.bincount(tokens[at : at + RUN_TOKENS], minlength=vocabulary_size)
            for at in range(0, len(tokens), RUN_TOKENS)
        )
        levels = [
            Counts(np.arange(vocabulary_size, dtype=np.uint64), np.asarray(unigrams, np.int64))
        ]
        numbers = tokens
        threads = threads or os.cpu_count() or 1
        for k in range(2, order + 1):
            with scratch_writes(beside), ThreadPoolExecutor(threads) as pool:
                level = _Level(folder, k, tokens, numbers, token_bits(vocabulary_size), end_id)
                starts = range(0, len(tokens), RUN_TOKENS)
                runs = list(pool.map(level.count_run, starts))
                levels.append(_merge(runs, os.path.join(folder, f"order{k}")))
                if k < order:
                    number_run = functools.partial(level.number_run, keys=levels[-1].keys)
                    list(pool.map(number_run, runs))
                    numbers = level.numbers
            for run in runs:
                run.remove()
            note(f"{len(levels[-1].keys):,} {k}-grams")
        yield levels
        # Arrays in files that are about to go would fail on use; an empty list fails at once.
        levels.clear()


def append(file: IO[bytes], values: np.ndarray) -> None:
    """Writes an array's bytes; `ndarray.tofile` would not say why it could not."""
    file.write(np.ascontiguousarray(values).data)


def new_file(path: str, dtype: npt.DTypeLike, size: int) -> np.ndarray:
    """Returns a new array (size,) in a file whose space is reserved.

    A full disk would otherwise kill the process on use.
    """
    if not size:
        return np.empty(0, dtype)
    if hasattr(os, "posix_fallocate"):
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size * np.dtype(dtype).itemsize)
        return np.memmap(path, dtype, "r+", shape=(size,))
    return np.memmap(path, dtype, "w+", shape=(size,))


def _write_tokens(
    blocks: Iterable[np.ndarray], path: str, vocabulary_size: int, beside: str
) -> np.ndarray:
    dtype = np.uint16 if vocabulary_size <= 1 << 16 else np.uint32
    total = 0
    with open(path, "wb") as file:
        for block in blocks:
            block = np.asarray(block)
            if block.size and not 0 <= block.min() <= block.max() < vocabulary_size:
                raise DataError(
                    f"token ids must be 0 to {vocabulary_size - 1}; received {block.min()} to"
                    f" {block.max()}"
                )
            with scratch_writes(beside):
                append(file, block.astype(dtype))
            total += block.size
        with scratch_writes(beside):
            file.flush()
    if not total:
        raise DataError("there are no tokens to count; give text of 1 token or more")
    return np.memmap(path, dtype, "r", shape=(total,))


@dataclass
class _Run:
    """The sorted n-grams of a part of the stream, in files."""

    start: int
    tokens: int
    path: str
    size: int

    def keys(self) -> np.ndarray:
        return self._map("keys", np.uint64)

    def counts(self) -> np.ndarray:
        return self._map("counts", np.int64)

    def _map(self, name: str, dtype: type) -> np.ndarray:
        return (
            np.memmap(f"{self.path}.{name}", dtype, "r", shape=(self.size,))
            if self.size
            else np.empty(0, dtype)
        )

    def remove(self) -> None:
        for name in ("keys", "counts"):
            os.remove(f"{self.path}.{name}")


class _Level:
    """One pass over the tokens: the n-grams of order k."""

    def __init__(
        self, folder: str, k: int, tokens: np.ndarray, numbers: np.ndarray, bits: int, end_id: int
    ):
        self.k, self.tokens, self.before, self.bits, self.end_id = k, tokens, numbers, bits, end_id
        self.path = os.path.join(folder, f"runs{k}")
        # Of the n-gram that ends at each token: its place in its run, later its number among all of
        # the order.
        self.numbers = new_file(f"{self.path}.numbers", np.uint32, len(tokens))

    def count_run(self, start: int) -> _Run:
        """Counts the n-grams that end at the tokens of a run, which begins at `start`."""
        tokens = np.asarray(self.tokens[start : start + RUN_TOKENS])
        if self.k == 2:
            # The end token is thought to stand before the first token of the stream.
            contexts = np.asarray(self.before[max(start - 1, 0) : start + len(tokens) - 1])
            if not start:
                contexts = np.append(np.array([self.end_id], self.tokens.dtype), contexts)
            counted = np.ones(len(tokens), bool)
        else:
            missing = [NOT_COUNTED] if start == 0 else []
            inside = slice(max(0, start - 1), start + len(tokens) - 1)
            contexts = np.concatenate([np.array(missing, np.uint32), self.before[inside]])
            previous = np.concatenate(
                [np.full(len(missing), self.end_id, self.tokens.dtype), self.tokens[inside]]
            )
            counted = (contexts != NOT_COUNTED) & (previous != self.end_id)
        keys = (contexts[counted].astype(np.uint64) << np.uint64(self.bits)) | tokens[
            counted
        ].astype(np.uint64)
        unique, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
        local = np.full(len(tokens), NOT_COUNTED, np.uint32)
        local[counted] = places
        self.numbers[start : start + len(tokens)] = local
        run = _Run(start, len(tokens), f"{self.path}.{start}", len(unique))
        for name, values in (("keys", unique), ("counts", counts.astype(np.int64))):
            with open(f"{run.path}.{name}", "wb") as file:
                append(file, values)
        return run

    def number_run(self, run: _Run, keys: np.ndarray) -> None:
        """Replaces places in a run by numbers among all n-grams of the order."""
        numbers = np.searchsorted(keys, run.keys()).astype(np.uint32)
        places = self.numbers[run.start : run.start + run.tokens]
        counted = places != NOT_COUNTED
        places[counted] = numbers[places[counted]]


def _merge(runs: list[_Run], path: str) -> Counts:
    """Adds up sorted runs, a range of keys at a time."""
    total = sum(run.size for run in runs)
    parts = max(1, -(-total // MERGE_ENTRIES))
    sample = np.sort(np.concatenate([run.keys()[:: max(1, run.size // 1000)] for run in runs]))
    borders = (
        sample[[len(sample) * part // parts for part in range(1, parts)]] if len(sample) else sample
    )
    cuts = [
        np.concatenate([[0], np.searchsorted(run.keys(), borders), [run.size]]).astype(int)
        for run in runs
    ]
    size = 0
    with open(f"{path}.keys", "wb") as key_file, open(f"{path}.counts", "wb") as count_file:
        for part in range(len(borders) + 1):
            slices = [slice(cut[part], cut[part + 1]) for cut in cuts]
            keys = np.concatenate(
                [run.keys()[where] for run, where in zip(runs, slices, strict=True)]
            )
            counts = np.concatenate(
                [run.counts()[where] for run, where in zip(runs, slices, strict=True)]
            )
            order = np.argsort(keys, kind="stable")
            keys, counts = keys[order], counts[order]
            is_new = np.ones(len(keys), bool)
            is_new[1:] = keys[1:] != keys[:-1]
            first = np.flatnonzero(is_new)
            sums = np.add.reduceat(counts, first) if len(first) else counts
            append(key_file, keys[first])
            append(count_file, sums.astype(np.int64))
            size += len(first)
    if not size:
        return Counts(np.empty(0, np.uint64), np.empty(0, np.int64))
    return Counts(
        np.memmap(f"{path}.keys", np.uint64, "r", shape=(size,)),
        np.memmap(f"{path}.counts", np.int64, "r", shape=(size,)),
    )
