"""Finds the documents that are similar to an earlier one, in little memory.

The rule is that of `tfscale.text.minhash.near_duplicates`: a document is dropped if ANY earlier one
is similar to it, dropped or not. An engine that groups documents by band key, and asks in each
group whether one with a smaller number is similar, gives the same answer.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from tfscale.text.minhash import MinHash

_BATCH = 1024
"""Documents that are looked up together."""
_CANDIDATES = 512
"""Signatures that are compared with one at a time."""
_RATIO = 4
"""A level is merged with the one before it as long as that is not so many times as large."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Band = tuple[np.ndarray, np.ndarray]
"""Sorted hashes of a band's content, and the number of the document of each."""


class NearDuplicates:
    """The signatures of the documents so far, found by their bands.

    Signatures that are equal are most often kept once: the first stands for all. For each band
    there are a few sorted arrays of hashes of its content, of which the larger are merged from the
    smaller. A document of 112 permutations and 16 bands takes 4 x 112 + 12 x 16 bytes.

    A pair with a band in common is compared, so that documents which share most of their text, but
    not enough of it, take a time that grows with the square of their number.

    Args:
        minhash: how documents are compared.

    Example:
        index = NearDuplicates(MinHash.of(0.8))
        signatures = [index.minhash.signature(text) for text in texts]
        kept = [text for text, drop in zip(texts, index.add(signatures)) if not drop]
    """

    def __init__(self, minhash: MinHash):
        self.minhash = minhash
        self._count = 0
        self._signatures = np.zeros((_BATCH, minhash.permutations), np.uint32)
        self._levels: list[list[Band]] = []
        # Odd multipliers, another for each band and each of its rows.
        random = np.random.Generator(np.random.PCG64(0))
        shape = (minhash.bands, minhash.rows)
        self._factors = random.integers(0, 1 << 63, shape, np.uint64) * 2 + 1

    def add(self, signatures: Sequence[bytes]) -> list[bool]:
        """Takes documents into the index, one after the other.

        Args:
            signatures: what `minhash.signature` gave for each.

        Returns:
            For each, whether an earlier document is similar.
        """
        dropped: list[bool] = []
        for start in range(0, len(signatures), _BATCH):
            content = b"".join(signatures[start : start + _BATCH])
            dropped += self._add(np.frombuffer(content, "<u4").reshape(-1, self._width))
        return dropped

    @property
    def _width(self) -> int:
        return self.minhash.permutations

    def _add(self, numbers: np.ndarray) -> list[bool]:
        end = self._count + len(numbers)
        if end > len(self._signatures):
            # In place, so that they are never in memory twice.
            self._signatures.resize((max(end, end + end // 4), self._width), refcheck=False)
        self._signatures[self._count : end] = numbers
        hashes = self._hashes(numbers)
        batch = _sorted_bands(hashes, self._count)
        similar, new = [False] * len(numbers), [True] * len(numbers)
        for place, candidates in self._candidates(hashes, [*self._levels, batch]):
            similar[place], equal = self._compare(numbers[place], candidates)
            new[place] = not equal
        self._keep(numbers[new], hashes[new])
        return similar

    def _candidates(
        self, hashes: np.ndarray, levels: Sequence[list[Band]]
    ) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Yields which documents of a batch have a band in common with earlier ones, and those."""
        found: dict[int, list[np.ndarray]] = defaultdict(list)
        for level, band in itertools.product(levels, range(self.minhash.bands)):
            (keys, documents), wanted = level[band], hashes[:, band]
            first = keys.searchsorted(wanted)
            places = np.flatnonzero(keys[np.minimum(first, len(keys) - 1)] == wanted)
            last = keys.searchsorted(wanted[places], "right")
            for place, start, stop in zip(places, first[places], last, strict=True):
                # The batch has the document itself, and those after it.
                earlier = documents[start:stop]
                if earlier[0] < self._count + place:
                    found[int(place)].append(earlier[earlier < self._count + place])
        yield from found.items()

    def _compare(self, numbers: np.ndarray, candidates: list[np.ndarray]) -> tuple[bool, bool]:
        """Returns whether a document is similar to a candidate, and whether it is the same as one.

        All have a band in common with it, unless two contents have one hash. The search ends with
        the candidates among which a similar one is, and may so miss one that is the same.
        """
        documents = np.concatenate(candidates)
        for start in range(0, len(documents), _CANDIDATES):
            signatures = self._signatures[documents[start : start + _CANDIDATES]]
            if np.any(self.minhash.similar_rows(signatures, numbers)):
                return True, bool(np.any(np.all(signatures == numbers, axis=1)))
        return False, False

    def _hashes(self, signatures: np.ndarray) -> np.ndarray:
        """Returns a hash of 64 bits of each band of signatures (N, P), as (N, bands)."""
        shape = (-1, self.minhash.bands, self.minhash.rows)
        rows = signatures[:, : self.minhash.bands * self.minhash.rows].reshape(shape)
        hashes = (rows * self._factors).sum(2, dtype=np.uint64)
        return (hashes ^ (hashes >> np.uint64(32))) * _MULTIPLIER

    def _keep(self, numbers: np.ndarray, hashes: np.ndarray) -> None:
        """Takes the documents of a batch that are not the same as earlier ones into the levels."""
        if not len(numbers):
            return
        self._signatures[self._count : self._count + len(numbers)] = numbers
        self._levels.append(_sorted_bands(hashes, self._count))
        self._count += len(numbers)
        while len(self._levels) > 1 and _size(self._levels[-2]) < _RATIO * _size(self._levels[-1]):
            later, earlier = self._levels.pop(), self._levels[-1]
            for band, pair in enumerate(later):
                # Band by band, so that only one is in memory twice.
                earlier[band] = _merged(earlier[band], pair)


def _sorted_bands(hashes: np.ndarray, first: int) -> list[Band]:
    """Returns the bands of documents, whose numbers begin at `first`, as a level."""
    orders = np.argsort(hashes, axis=0, kind="stable")
    return [
        (hashes[order, band], (order + first).astype(np.uint32))
        for band, order in enumerate(orders.T)
    ]


def _merged(first: Band, second: Band) -> Band:
    keys = np.concatenate([first[0], second[0]])
    # Stable: of documents with the same hash the earlier comes first.
    order = np.argsort(keys, kind="stable")
    return keys[order], np.concatenate([first[1], second[1]])[order]


def _size(level: list[Band]) -> int:
    return len(level[0][0])
