"""Which documents are the same as an earlier one."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from tfscale.data.beam.documents import Key, Place
from tfscale.data.beam.folder import WorkFolder
from tfscale.data.beam.step import Watched

Drop = tuple[Key, tuple[int, str]]
"""A document that is dropped: its chunk, its number in it, and why."""


def dropped(place: Place, why: str) -> Drop:
    """Returns that a document is dropped."""
    return place[:2], (place[2], why)


class Later(Watched):
    """Drops all but the first of the documents that have something in common.

    Yields the first one and what they have in common, and tagged "dropped" the others.

    Args:
        folder: the shared folder.
        why: they are dropped, as the manifest counts it.
    """

    def __init__(self, folder: WorkFolder, why: str):
        super().__init__(folder)
        self._why = why

    def process(self, element: tuple[bytes, Iterable[Place]]) -> Iterator[Any]:
        """Takes what documents have in common, and their places."""
        content, places = element
        # The places are read twice, so that a document may be there any number of times.
        first = min(places)
        yield first, content
        for place in places:
            if place != first:
                yield beam.pvalue.TaggedOutput("dropped", dropped(place, self._why))


def later(
    places: beam.PCollection, folder: WorkFolder, why: str
) -> tuple[beam.PCollection, beam.PCollection]:
    """Returns the first documents, and those that are dropped; see `Later`.

    Args:
        places: pairs of what documents may have in common, and their place.
        folder, why: see `Later`.
    """
    found = (
        places
        | f"group {why}" >> beam.GroupByKey()
        | f"first of {why}" >> beam.ParDo(Later(folder, why)).with_outputs("dropped", main="first")
    )
    return found.first, found.dropped
