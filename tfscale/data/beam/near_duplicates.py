"""Which documents are similar to an earlier one.

The rule is that of `tfscale.text.minhash.near_duplicates`, which does not ask in which order pairs
are compared: a document is dropped if any earlier one is similar to it. Of documents with the same
signature the first one stands for all. Those that are left are grouped by each of their bands, by
their place alone, since most bands are met once; where several meet, their signatures come to the
band and are compared.
"""

import bisect
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np

from tfscale.data.beam.documents import Place
from tfscale.data.beam.duplicates import Drop, dropped, later
from tfscale.data.beam.folder import WorkFolder
from tfscale.data.beam.step import Watched
from tfscale.data.quality.examining import NEAR_DUPLICATES
from tfscale.text.minhash import MinHash

_BLOCK = 1 << 14
"""Signatures of a band in memory at a time, twice."""

Signed = tuple[Place, bytes]


def near_duplicates(
    signatures: beam.PCollection, folder: WorkFolder, minhash: MinHash
) -> tuple[beam.PCollection, beam.PCollection]:
    """Returns two collections of documents that are dropped.

    Args:
        signatures: pairs of a signature and the place of a document.
        folder: the shared folder.
        minhash: how documents are compared.
    """
    unique, equal = later(signatures, folder, NEAR_DUPLICATES)
    meetings = (
        unique
        | "bands" >> beam.FlatMap(bands_of, minhash)
        | "group bands" >> beam.GroupByKey()
        | "meetings" >> beam.FlatMap(meetings_of)
    )
    similar = (
        {"signatures": unique, "bands": meetings}
        | "bring signatures" >> beam.CoGroupByKey()
        | "to bands" >> beam.FlatMap(to_bands)
        | "group signatures" >> beam.GroupByKey()
        | "compare" >> beam.ParDo(Compare(folder, minhash))
    )
    return equal, similar


def bands_of(document: Signed, minhash: MinHash) -> Iterator[tuple[bytes, Place]]:
    """Yields the key of each band of a document, and its place."""
    place, signature = document
    for key in minhash.band_keys(signature):
        yield key, place


def meetings_of(band: tuple[bytes, Iterable[Place]]) -> Iterator[tuple[Place, bytes]]:
    """Yields the documents of a band in which several meet, and its key."""
    key, places = band
    if len(list(itertools.islice(places, 2))) > 1:
        for place in places:
            yield place, key


def to_bands(document: tuple[Place, dict[str, Any]]) -> Iterator[tuple[bytes, Signed]]:
    """Yields the bands in which a document meets others, and its signature."""
    place, found = document
    [signature] = found["signatures"]
    for key in found["bands"]:
        yield key, (place, signature)


class Compare(Watched):
    """Yields the documents of a band that are similar to an earlier one of it.

    Args:
        folder: the shared folder.
        minhash: how documents are compared.
    """

    def __init__(self, folder: WorkFolder, minhash: MinHash):
        super().__init__(folder)
        self._minhash = minhash

    def process(self, element: tuple[bytes, Iterable[Signed]]) -> Iterator[Drop]:
        """Takes the key of a band and its documents."""
        _, documents = element
        for places, signatures in _blocks(documents, self._minhash):
            found = np.zeros(len(places), bool)
            for others, earlier in _blocks(documents, self._minhash):
                for number in np.flatnonzero(~found):
                    before = earlier[: bisect.bisect_left(others, places[number])]
                    found[number] = np.any(self._minhash.similar_rows(before, signatures[number]))
            for number in np.flatnonzero(found):
                yield dropped(places[number], NEAR_DUPLICATES)


def _blocks(
    documents: Iterable[Signed], minhash: MinHash
) -> Iterator[tuple[list[Place], np.ndarray]]:
    """Yields documents in blocks: their places, in order, and their signatures (N, P)."""
    rest = iter(documents)
    while block := sorted(itertools.islice(rest, _BLOCK)):
        content = b"".join(signature for _, signature in block)
        yield (
            [place for place, _ in block],
            np.frombuffer(content, "<u4").reshape(-1, minhash.permutations),
        )
