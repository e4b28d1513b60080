"""Cuts a text of too few documents: its beginning to train on, its end to validate and test on."""

import dataclasses
import os
from collections.abc import Iterator, Sequence

from tfscale.data.splits import TRAIN, Borders
from tfscale.data.spool import Spool, SpoolWriter

SHORTEST = 20
"""Least characters of a part."""


def cut_spool(spool: Spool, shares: dict[str, float]) -> tuple[Spool, int] | None:
    """Writes a spool anew, its training documents cut into the splits that they are too few for.

    Args:
        spool: the documents, which are replaced.
        shares: of the characters that each held-out split gets, in the order in which they end the
            text.

    Returns:
        The new spool and how many documents more it has; None, and the spool is as it was, where
        the text is too short for a part of each.
    """
    documents: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for split, text in _documents(spool):
        (documents if split == TRAIN else others).append((split, text))
    parts = cut_texts([text for _, text in documents], list(shares.values()))
    if parts is None:
        return None
    named = [
        (split, text)
        for split, texts in zip([TRAIN, *shares], parts, strict=True)
        for text in texts
    ]
    with SpoolWriter(f"{spool.path}.cut") as writer:
        for split, text in [*named, *others]:
            writer.add(text, 0, split)
    os.replace(f"{spool.path}.cut", spool.path)
    added = sum(map(len, parts)) - len(documents)
    return dataclasses.replace(writer.spool(Borders(0, 0)), path=spool.path), added


def cut_texts(documents: Sequence[str], shares: Sequence[float]) -> list[list[str]] | None:
    """Cuts documents into a first part and one for each share of their characters, in order.

    A cut is between documents, after a line end or after white space where there is one nearby, in
    this order, and else between two characters. Nothing is lost: the parts joined are the documents
    joined.

    Returns:
        The parts, each a list of texts; None where one of them would have fewer than 20 characters.

    Example:
        cut_texts(["a line of text\\n" * 10], [0.2])
        # [["a line of text\\n" * 8], ["a line of text\\n" * 2]]
    """
    text = "".join(documents)
    ends = [0]
    for document in documents:
        ends.append(ends[-1] + len(document))
    reach = int(min([*shares, 1 - sum(shares)]) * len(text) / 4)
    places = [0]
    for held_out in range(len(shares)):
        wanted = round(len(text) * (1 - sum(shares[held_out:])))
        places.append(_place(text, ends, wanted, reach))
    places.append(len(text))
    parts = []
    for start, end in zip(places[:-1], places[1:], strict=True):
        borders = [start, *(place for place in ends if start < place < end), end]
        texts = [text[a:b] for a, b in zip(borders[:-1], borders[1:], strict=True)]
        if len("".join(texts).strip()) < SHORTEST:
            return None
        parts.append(texts)
    return parts


def _place(text: str, ends: Sequence[int], wanted: int, reach: int) -> int:
    """Returns the best place for a cut at most `reach` characters from the wanted one."""
    first = max(wanted - reach, 1)
    near = text[first - 1 : wanted + reach]
    between = [place for place in ends if abs(place - wanted) <= reach and 0 < place < len(text)]
    for places in (
        between,
        [first + at for at, character in enumerate(near) if character == "\n"],
        [first + at for at, character in enumerate(near) if character.isspace()],
    ):
        if places:
            return min(places, key=lambda place: abs(place - wanted))
    return wanted


def _documents(spool: Spool) -> Iterator[tuple[str, str]]:
    """Yields the split and the text of each document."""
    parts: list[str] = []
    for piece in spool.all_pieces():
        parts.append(piece.text)
        if piece.last:
            yield piece.part.split, "".join(parts)
            parts = []
