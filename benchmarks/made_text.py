"""Made-up text of any size that looks like the built-in corpus python-docs.

A Markov chain of the corpus's words: each word is followed by one that follows it there, as often
as it does. So tokenizers find the words, and their frequencies, that they find in the corpus, and
hardly any two documents are alike. The same seed gives the same text, and a larger text begins with
the smaller one.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.corpus import read_text

_CHAINS = 2048
"""Documents that are made side by side."""
_WORDS = (70, 210)
"""Least and largest number of a document's words, which have 7 bytes with the space."""


class Chain(NamedTuple):
    """A Markov chain of W words.

    Attributes:
        words: each with the space or line end after it (W,).
        followers: the words that follow word 0, then those that follow word 1 ...; one that follows
            twice is there twice.
        first: where the followers of each word begin (W + 1,).
    """

    words: np.ndarray
    followers: np.ndarray
    first: np.ndarray


def chain_of(text: str) -> Chain:
    """Returns the chain of a text; its last word is followed by the first."""
    found = [f"{word} " for line in text.split("\n") for word in line.split()]
    words, ids = np.unique(np.array(found, object), return_inverse=True)
    order = np.argsort(ids, kind="stable")
    counts = np.bincount(ids, minlength=len(words))
    return Chain(words, np.roll(ids, -1)[order], np.cumsum([0, *counts]))


@functools.cache
def _python_docs() -> Chain:
    return chain_of(read_text(None))


def documents(seed: int = 0, chain: Chain | None = None) -> Iterator[str]:
    """Yields documents of 1 kB on average, without end."""
    words, followers, first = chain or _python_docs()
    random = np.random.default_rng(seed)
    counts = np.diff(first)
    while True:
        lengths = random.integers(*_WORDS, _CHAINS, endpoint=True)
        ids = np.empty((_WORDS[1], _CHAINS), np.int64)
        ids[0] = random.integers(0, len(words), _CHAINS)
        for before, after in zip(ids[:-1], ids[1:], strict=True):
            chosen = (random.random(_CHAINS) * counts[before]).astype(np.int64)
            after[:] = followers[first[before] + chosen]
        for document, length in zip(words[ids.T], lengths, strict=True):
            yield "".join(document[:length]).rstrip()


def write_text(path: Path, size: int, seed: int = 0) -> int:
    """Writes documents, a line each, until the file has at least so many bytes.

    Returns:
        How many documents there are.
    """
    count = written = 0
    with path.open("wb") as file:
        for document in documents(seed):
            if written >= size:
                break
            written += file.write(f"{document}\n".encode())
            count += 1
    return count
