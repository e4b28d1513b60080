"""Finds the documents that are similar to an earlier one, in little memory.

The rule is that of `tfscale.text.minhash.near_duplicates`: a document is dropped if ANY earlier one
is similar to it, dropped or not. An engine that groups documents by band key, and asks in each
group whether one with a smaller number is similar, gives the same answer.
"""

from collections.abc import Sequence

import numpy as np

from tfscale.text.minhash import MinHash

_FIRST_SIGNATURES = 1024
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class NearDuplicates:
    """The signatures of the documents so far, found by their bands.

    Signatures that are equal are kept once: the first of them stands for all. For each band a table
    maps the hash of its content to the last document that has it, and each document names the one
    before it in the same place of that table, and half of the hash. A document of 112 permutations
    and 16 bands takes 4 x 112 + 8 x 16 bytes, and 4 x 16 to 8 x 16 bytes of the tables.

    Args:
        minhash: how documents are compared.

    Example:
        index = NearDuplicates(MinHash.of(0.8))
        signatures = [index.minhash.signature(text) for text in texts]
        kept = [text for text, drop in zip(texts, index.add(signatures)) if not drop]
    """

    def __init__(self, minhash: MinHash):
        self.minhash = minhash
        self._bands, self._rows = minhash.bands, minhash.rows
        self._count = 0
        self._signatures = np.zeros((_FIRST_SIGNATURES, minhash.permutations), np.uint32)
        self._earlier = np.zeros((_FIRST_SIGNATURES, self._bands), np.uint32)
        self._tags = np.zeros((_FIRST_SIGNATURES, self._bands), np.uint32)
        # Odd multipliers, another for each band and each of its rows.
        random = np.random.Generator(np.random.PCG64(0))
        self._factors = random.integers(0, 1 << 63, (self._bands, self._rows), np.uint64) * 2 + 1
        self._each = np.arange(self._bands)
        self._tables = self._empty_tables()

    def add(self, signatures: Sequence[bytes]) -> list[bool]:
        """Takes documents into the index, one after the other.

        Args:
            signatures: what `minhash.signature` gave for each.

        Returns:
            For each, whether an earlier document is similar.
        """
        if not signatures:
            return []
        numbers = np.frombuffer(b"".join(signatures), "<u4").reshape(len(signatures), -1)
        hashes = self._hashes(numbers)
        return [self._add(*pair) for pair in zip(numbers, hashes, strict=True)]

    def _add(self, numbers: np.ndarray, hashes: np.ndarray) -> bool:
        if self._count == len(self._signatures):
            self._grow()
        places, tags = self._places(hashes), hashes.astype(np.uint32)
        # Documents are numbered from 1; 0 ends a chain. Each step looks at one document of each
        # band.
        similar = False
        found, bands = self._tables[self._each, places], self._each
        while not similar and (left := found.nonzero()[0]).size:
            found, bands = found[left] - 1, bands[left]
            same = self._tags[found, bands] == tags[bands]
            if np.any(same):
                equal = self._signatures[found[same]] == numbers
                agreeing = equal.sum(1)
                if np.any(agreeing == len(numbers)):
                    return True
                similar = self._are_similar(equal, agreeing)
            found = self._earlier[found, bands]
        self._signatures[self._count], self._tags[self._count] = numbers, tags
        self._enter(self._count, places)
        self._count += 1
        return similar

    def _are_similar(self, equal: np.ndarray, agreeing: np.ndarray) -> bool:
        """Returns whether one of some documents is similar, by where its numbers are equal."""
        enough = agreeing >= self.minhash.agreeing
        in_bands = equal[:, : self._bands * self._rows].reshape(-1, self._bands, self._rows)
        return bool(np.any(enough & np.any(in_bands.all(2), 1)))

    def _enter(self, number: int, places: np.ndarray) -> None:
        self._earlier[number] = self._tables[self._each, places]
        self._tables[self._each, places] = number + 1

    def _hashes(self, signatures: np.ndarray) -> np.ndarray:
        """Returns a hash of 64 bits of each band of signatures (N, P), as (N, bands)."""
        rows = signatures[:, : self._bands * self._rows].reshape(-1, self._bands, self._rows)
        hashes = (rows * self._factors).sum(2, dtype=np.uint64)
        hashes = (hashes ^ (hashes >> np.uint64(32))) * _MULTIPLIER
        return hashes ^ (hashes >> np.uint64(29))

    def _places(self, hashes: np.ndarray) -> np.ndarray:
        """Returns where in its table each band is; the lower half of its hash is its tag."""
        bits = self._tables.shape[1].bit_length() - 1
        return (hashes >> np.uint64(64 - bits)).astype(np.intp)

    def _empty_tables(self) -> np.ndarray:
        size = 1 << (len(self._signatures) - 1).bit_length()
        return np.zeros((self._bands, size), np.uint32)

    def _grow(self) -> None:
        """Makes room for a quarter more documents, and fills the tables anew where they get larger.

        The arrays are enlarged in place, so that they are never in memory twice.
        """
        size = self._count + self._count // 4
        self._signatures.resize((size, self.minhash.permutations), refcheck=False)
        for array in (self._earlier, self._tags):
            array.resize((size, self._bands), refcheck=False)
        if size <= self._tables.shape[1]:
            return
        self._tables = self._empty_tables()
        for start in range(0, self._count, _FIRST_SIGNATURES):
            stop = min(start + _FIRST_SIGNATURES, self._count)
            places = self._places(self._hashes(self._signatures[start:stop]))
            for number, place in enumerate(places, start):
                self._enter(number, place)
