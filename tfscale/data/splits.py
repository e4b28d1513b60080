"""Which documents are held out: a hash of the document and the seed decides.

Order and number of the others do not.
"""

import bisect
import functools
import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tfscale.errors import DataError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)


class Part(NamedTuple):
    """A split of a source; the source is None where sources were not named."""

    split: str
    source: str | None = None


_HASHES = 1 << 64
_KEPT = 4096


def document_digest(content: bytes, seed: int) -> bytes:
    """Returns a digest (16 bytes) of a document; another seed gives an unrelated one."""
    digest = _keyed(seed).copy()
    digest.update(content)
    return digest.digest()


@functools.lru_cache
def _keyed(seed: int) -> "hashlib.blake2b":
    """Returns the digest of nothing; a copy of it takes half the time of a new one with a key."""
    return hashlib.blake2b(digest_size=16, key=str(seed).encode())


def split_hash(digest: bytes) -> int:
    """Returns the place of a document, 0 to 2**64 - 1, which decides about its split."""
    return int.from_bytes(digest[:8], "little")


@dataclass(frozen=True)
class Borders:
    """Hashes below `test` are the test split, below `validation` validation, others train."""

    test: int
    validation: int

    def split_of(self, place: int) -> str:
        """Returns the split of a document with this `split_hash`."""
        if place < self.test:
            return TEST
        return VALIDATION if place < self.validation else TRAIN

    def splits_of(self, places: np.ndarray) -> np.ndarray:
        """Returns the splits of documents with these hashes (N,) uint64, as places in `SPLITS`."""
        in_test, held_out = (
            # A border may lie above all hashes.
            np.full(places.shape, True) if border >= _HASHES else places < np.uint64(border)
            for border in (self.test, self.validation)
        )
        indices = [SPLITS.index(split) for split in (TEST, VALIDATION, TRAIN)]
        return np.select([in_test, held_out], indices[:2], indices[2])


class HoldOut:
    """Finds the borders between the splits, so that none is empty.

    The borders are where the fractions put them. With few documents (up to 4,096 different ones)
    they are moved as far as it takes for each split with a fraction above 0 to have at least one,
    those with the smallest hashes. Documents that are the same go to the same split.

    Args:
        validation_fraction, test_fraction: shares of the documents.

    Example:
        hold_out = HoldOut(validation_fraction=0.1, test_fraction=0)
        for document in documents:
            hold_out.add(split_hash(document_digest(document, seed=0)))
        hold_out.borders().split_of(split_hash(document_digest(documents[0], seed=0)))
    """

    def __init__(self, *, validation_fraction: float, test_fraction: float):
        self._validation_fraction = validation_fraction
        self._test_fraction = test_fraction
        self._wanted = 1 + int(validation_fraction > 0) + int(test_fraction > 0)
        self._places: set[int] | None = set()
        self._documents = 0

    def add(self, place: int) -> None:
        """Takes note of a document."""
        self._documents += 1
        if self._places is not None:
            self._places.add(place)
            if len(self._places) > _KEPT:
                self._places = None

    @property
    def too_few(self) -> bool:
        """Whether the documents that were added, all different, are fewer than the splits."""
        different = _KEPT if self._places is None else len(self._places)
        return self._documents == different < self._wanted

    def borders(self) -> Borders:
        """Returns the borders for the documents that were added.

        Raises:
            DataError: there are fewer different documents than splits.
        """
        test = int(self._test_fraction * _HASHES)
        validation = test + int(self._validation_fraction * _HASHES)
        if self._places is None:
            return Borders(test, validation)
        places = sorted(self._places)
        for_test, for_validation = int(self._test_fraction > 0), int(self._validation_fraction > 0)
        if len(places) < self._wanted:
            raise DataError(
                f"{len(places)} different document{'s' if len(places) != 1 else ''} cannot make"
                f" {self._wanted} splits; name --validation-text and --test-text, cut smaller"
                " documents by --documents paragraph or line, or set --validation-fraction 0"
                " --test-fraction 0"
            )
        # How many of the sorted hashes are before each border, with at least one document on each
        # side of it.
        in_test = max(bisect.bisect_left(places, test), for_test)
        held_out = max(bisect.bisect_left(places, validation), in_test + for_validation)
        held_out = min(held_out, len(places) - 1)
        in_test = min(in_test, held_out - for_validation)
        return Borders(_border(places, in_test), _border(places, held_out))


def _border(places: list[int], count: int) -> int:
    return places[count - 1] + 1 if count else 0
