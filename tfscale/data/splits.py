"""Which documents are held out: a hash of the document and the seed decides.

Order and number of the others do not.
"""

import bisect
import functools
import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tfscale.config import PrepareConfig
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
    return document_digests([content], seed)[0]


def document_digests(contents: Iterable[bytes], seed: int) -> list[bytes]:
    """Returns the `document_digest` of each of many documents."""
    begun = _keyed(seed).copy
    digests = []
    for content in contents:
        digest = begun()
        digest.update(content)
        digests.append(digest.digest())
    return digests


@functools.lru_cache
def _keyed(seed: int) -> "hashlib.blake2b":
    """Returns the digest of nothing; a copy of it takes half the time of a new one with a key."""
    return hashlib.blake2b(digest_size=16, key=str(seed).encode())


def split_hash(digest: bytes) -> int:
    """Returns the place of a document, 0 to 2**64 - 1, which decides about its split."""
    return int.from_bytes(digest[:8], "little")


def split_hashes(digests: Iterable[bytes]) -> np.ndarray:
    """Returns the `split_hash` of each of N documents, (N,) uint64."""
    return np.frombuffer(b"".join(digests), "<u8")[::2]


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


@dataclass(frozen=True)
class Owners:
    """Tells which part documents belong to.

    Attributes:
        labels: splits and sources of the documents; of "train" the borders decide.
        borders: of the splits.
    """

    labels: Sequence[Part]
    borders: Borders

    def of(self, labels: np.ndarray, places: np.ndarray) -> tuple[list[Part], np.ndarray]:
        """Returns the parts of documents, and the index of each document's.

        Args:
            labels: (N,) indices in `labels`.
            places: (N,) uint64, their `split_hash`.
        """
        # What a label and a split come to: two labels may come to the same part.
        reached = [Part(split, label.source) for label in self.labels for split in SPLITS]
        parts = list(dict.fromkeys(reached))
        index = np.array([parts.index(part) for part in reached])
        named = np.array([SPLITS.index(label.split) for label in self.labels])[labels]
        by_hash = self.borders.splits_of(places)
        splits = np.where(named == SPLITS.index(TRAIN), by_hash, named)
        return parts, index[labels.astype(np.int64) * len(SPLITS) + splits]


def check_parts(config: PrepareConfig, found: Collection[Part]) -> None:
    """Refuses splits and sources that got no document.

    Args:
        config: the options.
        found: the parts that have documents.

    Raises:
        DataError: a split with a fraction, or the training part of a source, is not among them.
    """
    splits = {part.split for part in found}
    for split, fraction in (
        (VALIDATION, config.validation_fraction),
        (TEST, config.test_fraction),
        (TRAIN, 1),
    ):
        if fraction and split not in splits:
            raise DataError(
                f"the {split} split got no document by {split}_fraction={fraction}; choose a larger"
                " fraction"
            )
    if lost := [name for name in config.source if Part(TRAIN, name) not in found]:
        raise DataError(
            f"all documents of the source {lost[0]} are held out; give more text of it, or choose"
            " smaller fractions"
        )


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

    def add_all(self, places: np.ndarray) -> None:
        """Takes note of documents with these hashes (N,) uint64."""
        self._documents += len(places)
        if self._places is not None:
            self._places.update(np.unique(places)[: _KEPT + 1].tolist())
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
