"""Drops documents that have a passage of an evaluation text in them.

Source: Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C,
https://arxiv.org/abs/2005.14165: 13-grams of words in lower case without punctuation. There only
the passage was cut out, and n-grams of more than ten documents were let pass; here the whole
document is dropped, so that the answer for one document does not depend on the others.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tfscale.text.words import ngrams, words_of


@dataclass(frozen=True, eq=False)
class Decontamination:
    """The n-grams of evaluation texts.

    Attributes:
        n: words of an n-gram.
        hashes: 64-bit hashes of the n-grams, sorted.
        sources: for each of them the number of the file that it is from, the first one.
        files: the files' names.
        documents: evaluation documents.
        too_short: those of them with fewer words than an n-gram, which match nothing.

    Example:
        evaluation = Decontamination.of([("test.txt", "...")], n=13)
        evaluation.match("a document")    # "test.txt" or None
    """

    n: int
    hashes: np.ndarray
    sources: np.ndarray
    files: tuple[str, ...]
    documents: int
    too_short: int

    @classmethod
    def of(cls, documents: Iterable[tuple[str, str]], n: int) -> "Decontamination":
        """Returns the n-grams of documents, which are pairs of the file's name and the text."""
        files: dict[str, int] = {}
        hashes, sources = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)]
        count = too_short = 0
        for file, text in documents:
            number = files.setdefault(file, len(files))
            found = _hashes(text, n)
            hashes.append(found)
            sources.append(np.full(len(found), number, np.uint32))
            count += 1
            too_short += not len(found)
        # `unique` sorts, and of equal hashes it names the first.
        unique, first = np.unique(np.concatenate(hashes), return_index=True)
        return cls(n, unique, np.concatenate(sources)[first], tuple(files), count, too_short)

    def match(self, text: str) -> str | None:
        """Returns the name of the file whose n-gram comes first in a document; None for none."""
        wanted = _hashes(text, self.n)
        if not len(self.hashes):
            return None
        places = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        matches = np.flatnonzero(self.hashes[places] == wanted)
        return self.files[self.sources[places[matches[0]]]] if len(matches) else None


def _hashes(text: str, n: int) -> np.ndarray:
    grams = ngrams(words_of(text), n)
    digests = (hashlib.blake2b(gram.encode(), digest_size=8).digest() for gram in grams)
    return np.frombuffer(b"".join(digests), "<u8")
